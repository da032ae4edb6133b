"""pico, the embedded backbone: a small ViT at 32 pixels that needs no network.

Its weights and model card are package data in ``pico_weights/``; ``experiments/`` holds the
program that made them. The file's own metadata says how to build and feed it.
"""

from __future__ import annotations

import hashlib
import json
from importlib import resources

from safetensors import safe_open

from lacvit.backbones import timm_models
from lacvit.backbones.backbone import Architecture, Backbone, Origin, Pool
from lacvit.errors import InputError
from lacvit.input_spec import InputSpec

TIMM_NAME = "vit_tiny_patch16_224"  # timm's plain ViT; the file's own arguments give the shape

NOTICE = (
    "pico, the embedded backbone, sees 32 x 32 pixels: good for trying things out, not for fine "
    "detail. A larger pretrained model is one option away: "
    "--backbone timm:vit_small_patch16_224.augreg_in21k"
)


def load(*, image_size: int | None = None, pool: Pool | None = None) -> Backbone:
    """The embedded backbone with its weights, in float32.

    Raises:
        InputError: another image size is asked for.
    """
    with resources.as_file(resources.files(__package__) / "pico_weights/pico.safetensors") as path:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    spec = InputSpec.model_validate_json(metadata["input_spec"])
    if image_size not in (None, spec.size):
        raise InputError(
            f"pico sees {spec.size} x {spec.size} pixels, not {image_size}. "
            f"Leave --image-size out, or choose another --backbone."
        )
    arguments = json.loads(metadata["architecture"])
    arguments.pop("num_classes", None)
    if pool is not None:
        arguments["pool"] = pool
    architecture = Architecture(source="timm", name=TIMM_NAME, arguments=arguments)
    origin = Origin(spec="pico", format="safetensors", sha256=sha256)
    backbone = timm_models.build(architecture, spec, origin)
    backbone.encoder.load_state_dict(weights)
    return backbone
