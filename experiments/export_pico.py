"""Write a pretrained network in the format its readers expect.

Command:  python experiments/export_pico.py runs/pico/checkpoint.pt pico.safetensors
          (a run's checkpoint, under way or finished)
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pico_models import MaskedAutoencoder, Shape, build_classifier
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from tiny_images import PICO


def export_pico(model: VisionTransformer, path: Path, shape: Shape) -> None:
    """float16 weights under timm's keys, without the head; how to build it and feed it as JSON."""
    architecture = asdict(shape)
    architecture.pop("stem")
    architecture |= {"class_token": False, "global_pool": "avg", "num_classes": 0}
    input_spec = {
        "size": shape.img_size,
        "mean": list(PICO.mean),
        "std": list(PICO.std),
        "interpolation": "bicubic",
        "crop_fraction": 1.0,
    }
    weights = {
        name: tensor.half().contiguous()
        for name, tensor in model.state_dict().items()
        if not name.startswith("head.")
    }
    metadata = {
        "format": "pt",
        "name": "pico",
        "architecture": json.dumps(architecture),
        "input_spec": json.dumps(input_spec),
    }
    part = path.with_suffix(".part")
    save_file(weights, part, metadata=metadata)
    part.chmod(0o644)
    part.replace(path)


def export_mae(model: MaskedAutoencoder, path: Path, settings: dict[str, Any], epoch: int) -> None:
    """The dictionary that the original MAE code saves: model, optimizer, epoch, scaler, args."""
    contents = {
        "model": model.state_dict(),
        "optimizer": {},
        "epoch": epoch,
        "scaler": {},
        "args": argparse.Namespace(**settings),
    }
    part = path.with_suffix(".part")
    torch.save(contents, part)
    part.replace(path)


def main(checkpoint: Path, target: Path) -> None:
    state = torch.load(checkpoint, weights_only=True)
    settings = state["settings"]
    shape = Shape(settings["embed_dim"], settings["depth"], settings["num_heads"])
    model = build_classifier(shape, classes=len(state["model"]["head.weight"]))
    model.load_state_dict(state["model"])
    export_pico(model, target, shape)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
