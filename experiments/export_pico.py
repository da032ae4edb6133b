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
from pico_beit import Data2Vec, SimMim
from pico_models import Shape, build_classifier
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from tiny_images import PICO
from torch import nn


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


def export_original(model: nn.Module, path: Path, settings: dict[str, Any], epoch: int) -> None:
    """The dictionary that the authors of the model's method save: their keys, nested as theirs."""
    arguments = argparse.Namespace(**settings)
    if isinstance(model, SimMim):
        contents = {"model": model.state_dict(), "epoch": epoch, "config": settings}
    elif isinstance(model, Data2Vec):
        parts = model.state_dict()
        bare = {key.removeprefix("encoder."): tensor for key, tensor in parts.items()}
        student = {key: t for key, t in bare.items() if not key.startswith("teacher.")}
        teacher = {key.removeprefix("teacher."): t for key, t in bare.items() if key not in student}
        contents = {"model": student, "model_ema": teacher, "epoch": epoch, "args": arguments}
    else:  # MAE
        contents = {
            "model": model.state_dict(),
            "optimizer": {},
            "epoch": epoch,
            "scaler": {},
            "args": arguments,
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
