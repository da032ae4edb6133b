"""Backbones from timm, by name or by architecture.

Normalisation, interpolation and crop come from the model's own description in timm.
"""

from __future__ import annotations

import difflib
from typing import Any

import torch
from torch import nn

from lacvit.backbones.backbone import Architecture, Backbone, Origin
from lacvit.backbones.torchvision_shim import ensure_torchvision
from lacvit.errors import InputError
from lacvit.input_spec import InputSpec

ensure_torchvision()

import timm  # noqa: E402  (must follow the shim)
from timm.data.config import resolve_model_data_config  # noqa: E402


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
        InputError: timm has no such weights (the nearest are named), the model is no vision
            transformer, its input size is fixed or no multiple of its patches, or its weights are
            neither cached nor to be downloaded.
    """
    _check_known(name)
    arguments: dict[str, Any] = {} if image_size is None else {"img_size": image_size}
    try:
        network = timm.create_model(name, pretrained=True, num_classes=0, **arguments)
    except TypeError as error:
        if image_size is None or "img_size" not in str(error):
            raise
        raise InputError(
            f"timm:{name} takes no other input size: leave --image-size out."
        ) from None
    except (OSError, RuntimeError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"timm:{name} could not be loaded: {said} "
            f"If this machine has no network, fetch the weights on one that has "
            f"(python -c \"import timm; timm.create_model('{name}', pretrained=True)\") and copy "
            f"its Hugging Face cache, or use --backbone pico."
        ) from error
    if image_size is not None:
        _check_multiple(network, name, image_size)
    described = resolve_model_data_config(network, args=arguments)
    spec = InputSpec(
        size=described["input_size"][-1],
        mean=described["mean"],
        std=described["std"],
        interpolation="bilinear" if described["interpolation"] == "bilinear" else "bicubic",
        crop_fraction=described["crop_pct"],
    )
    # With its tag: some tags of one model differ in input size or pooling.
    architecture = Architecture(source="timm", name=name, arguments=arguments)
    origin = Origin(spec=f"timm:{name}", format="timm")
    return _wrap(network.float(), architecture, spec, origin)


def _check_known(name: str) -> None:
    released = timm.list_models(pretrained=True)
    if name not in released and name not in {full.split(".")[0] for full in released}:
        raise InputError(
            f"timm has no weights {name!r}. The nearest are: {', '.join(nearest(name)) or 'none'}. "
            f"Write --backbone timm:NAME with one of timm.list_models(pretrained=True)."
        )


def _check_multiple(network: nn.Module, name: str, image_size: int) -> None:
    patches = getattr(getattr(network, "patch_embed", None), "patch_size", 1)
    patch: int = patches if isinstance(patches, int) else patches[0]
    if image_size % patch:
        raise InputError(
            f"timm:{name} cuts images into patches of {patch} pixels, of which {image_size} is no "
            f"multiple. Use --image-size {max(1, round(image_size / patch)) * patch}."
        )


def nearest(name: str) -> list[str]:
    """Up to three of timm's pretrained models whose names are near."""
    tags: dict[str, list[str]] = {}
    for full in timm.list_models(pretrained=True):
        tags.setdefault(full.split(".")[0], []).append(full)
    bare = name.split(".")[0]
    if bare in tags:
        return difflib.get_close_matches(name, tags[bare], n=3, cutoff=0.0)
    return [min(tags[near]) for near in difflib.get_close_matches(bare, tags, n=3)]


def licence(name: str) -> str | None:
    """The licence that timm records for a model's weights, if it records one."""
    described = timm.get_pretrained_cfg(name)
    return described.license if described else None


def _wrap(
    network: nn.Module, architecture: Architecture, spec: InputSpec, origin: Origin
) -> Backbone:
    children = dict(network.named_children())
    blocks = children.get("blocks")
    if "patch_embed" not in children or not isinstance(blocks, nn.Sequential | nn.ModuleList):
        raise InputError(
            f"{origin.spec} is no plain vision transformer: it has no patches and list of blocks. "
            f"Choose a model of the vit, deit, beit or eva families."
        )
    names = list(children)
    final = [children[name] for name in names[names.index("blocks") + 1 :]]
    # Not `num_features`, which is the width before a head's own hidden layer.
    dim: int = network.head_hidden_size  # type: ignore[assignment]
    return Backbone(
        network,
        dim=dim,
        input_spec=spec,
        architecture=architecture,
        origin=origin,
        blocks=list(blocks),
        final=final,
    )


def shapes(architecture: Architecture) -> dict[str, torch.Size]:
    """The shape of every parameter and buffer of an architecture, by its key."""
    network = timm.create_model(architecture.name, num_classes=0, **architecture.arguments)
    return {key: tensor.shape for key, tensor in network.state_dict().items()}
