"""Backbones from timm, by name or by architecture.

Normalisation, interpolation and crop come from the model's own description in timm.
"""

from __future__ import annotations

import difflib
from typing import Any

import torch

from lacvit.backbones.backbone import Architecture, Backbone, Origin
from lacvit.backbones.torchvision_shim import ensure_torchvision
from lacvit.errors import InputError
from lacvit.input_spec import InputSpec

ensure_torchvision()

import timm  # noqa: E402  (must follow the shim)
from timm.data.config import resolve_model_data_config  # noqa: E402

# What follows the last block in timm's vision transformers, in the order of their application.
FINAL = ("norm", "attn_pool", "fc_norm")


def build(architecture: Architecture, input_spec: InputSpec, origin: Origin) -> Backbone:
    """The network of ``architecture`` with fresh weights."""
    return _wrap(
        timm.create_model(architecture.name, num_classes=0, **architecture.arguments),
        architecture,
        input_spec,
        origin,
    )


def load(name: str, *, image_size: int | None) -> Backbone:
    """The pretrained timm model called ``name``, from timm's cache or a download.

    Raises:
        InputError: timm has no such model (the nearest are named), it has no blocks, or its
            weights are neither cached nor to be downloaded.
    """
    bare = name.split(".")[0]
    if bare not in timm.list_models():
        raise InputError(
            f"timm has no model {name!r}. The nearest are: {', '.join(nearest(name)) or 'none'}. "
            f"Write --backbone timm:NAME with one of timm.list_models(pretrained=True)."
        )
    arguments: dict[str, Any] = {} if image_size is None else {"img_size": image_size}
    try:
        network = timm.create_model(name, pretrained=True, num_classes=0, **arguments)
    except (OSError, RuntimeError, TypeError, AssertionError) as error:
        raise InputError(
            f"timm:{name} could not be loaded: {str(error).splitlines()[0]} "
            f"If this machine has no network, fetch the weights on one that has "
            f"(python -c \"import timm; timm.create_model('{name}', pretrained=True)\") and copy "
            f"its Hugging Face cache, or use --backbone pico."
        ) from error
    described = resolve_model_data_config(
        network, args={} if image_size is None else {"img_size": image_size}
    )
    spec = InputSpec(
        size=described["input_size"][-1],
        mean=described["mean"],
        std=described["std"],
        interpolation="bilinear" if described["interpolation"] == "bilinear" else "bicubic",
        crop_fraction=described["crop_pct"],
    )
    architecture = Architecture(source="timm", name=bare, arguments=arguments)
    origin = Origin(spec=f"timm:{name}", format="timm")
    return _wrap(network.float(), architecture, spec, origin)


def nearest(name: str) -> list[str]:
    """Up to three of timm's pretrained models whose names are near."""
    return difflib.get_close_matches(name, timm.list_models(pretrained=True), n=3, cutoff=0.4)


def _wrap(
    network: torch.nn.Module, architecture: Architecture, spec: InputSpec, origin: Origin
) -> Backbone:
    blocks = getattr(network, "blocks", None)
    if not isinstance(blocks, torch.nn.Sequential | torch.nn.ModuleList):
        raise InputError(
            f"{origin.spec} is no plain vision transformer: it has no list of blocks. "
            f"Choose a model of the vit, deit, beit or eva families."
        )
    final = [getattr(network, name, None) for name in FINAL]
    dim: int = network.num_features  # type: ignore[assignment]
    return Backbone(
        network,
        dim=dim,
        input_spec=spec,
        architecture=architecture,
        origin=origin,
        blocks=list(blocks),
        final=[module for module in final if isinstance(module, torch.nn.Module)],
    )


def shapes(architecture: Architecture) -> dict[str, torch.Size]:
    """The shape of every parameter and buffer of an architecture, by its key."""
    network = timm.create_model(architecture.name, num_classes=0, **architecture.arguments)
    return {key: tensor.shape for key, tensor in network.state_dict().items()}
