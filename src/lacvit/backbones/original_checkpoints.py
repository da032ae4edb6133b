"""Backbones from the files that a model's authors released: ``file:PATH?format=mae&heads=6``.

Every tensor of a file is used, or stands on its format's list of left-over keys, or the load
fails and lists the difference. A file is read without executing anything in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lacvit.backbones import timm_models
from lacvit.backbones.backbone import Architecture, Backbone, Origin, Pool, refuse_rest
from lacvit.backbones.checkpoint_files import CheckpointFile, check_file, read_checkpoint
from lacvit.backbones.formats import FIRST_TABLE, FORMATS, HALF, IMAGENET, SHARED, Format, Renamed
from lacvit.backbones.key_differences import differences, misfit, shapes_of
from lacvit.backbones.positions import (
    SMALLEST_GRID,
    bicubic_antialiased,
    resize_absolute,
    resize_relative,
)
from lacvit.backbones.reading import (
    Reading,
    Shape,
    check_format,
    measure,
    read_as,
    split_options,
)
from lacvit.errors import InputError
from lacvit.input_spec import InputSpec

POOLS: dict[Pool, str] = {"cls": "token", "mean": "avg"}
# The norm of the tokens, and that of their mean: a file may hold the one that is not in use.
NORMS = (("norm.weight", "norm.bias"), ("fc_norm.weight", "fc_norm.bias"))
WHOLE_IMAGE = 384  # from this size on, the authors evaluate on whole images, without a crop


def check_name(path_and_options: str) -> None:
    """Refuse what names no file, without reading one.

    Raises:
        InputError: no such file, an unknown option or format.
    """
    path, options = split_options(path_and_options)
    check_format(options.get("format"))
    check_file(path)


def load(path_and_options: str, *, image_size: int | None, pool: Pool | None = None) -> Backbone:
    """The encoder in the file of ``PATH?format=mae&heads=6``; the options may be left out.

    Raises:
        InputError: no such file, nothing recognised in it, it would run code, a tensor without a
            place or a place without a tensor, an unknown option, a size that the patches do not
            divide, a way to pool that the file has no weights for, a format that the file's keys
            or arguments speak against.
    """
    path, options = split_options(path_and_options)
    file = read_checkpoint(path)
    reading = read_as(file, options.get("format"))
    format_, shape = FORMATS[reading.format], measure(file, reading)
    grid = _grid(shape, image_size, format_, path)
    weights = _for_grid(reading.renamed.weights, shape, format_, grid)
    architecture = Architecture(
        source="timm",
        name=_name(weights, format_),
        arguments={
            "img_size": grid * shape.patch,
            "patch_size": shape.patch,
            "embed_dim": shape.width,
            "depth": shape.depth,
            "num_heads": _heads(shape, format_, options.get("heads"), path),
            "mlp_ratio": (shape.hidden + 0.5) / shape.width,  # timm rounds the product down
            **_parts(weights, shape, format_),
            **_pooling(pool or _authors_pool(format_, reading.renamed), format_, weights, path),
        },
    )
    weights = _complete(weights, architecture, reading, file)
    origin = Origin(
        spec=f"file:{path_and_options}",
        format=reading.format,
        evidence=reading.evidence,
        sha256=file.sha256,
    )
    spec = _input_spec(format_, file, grid * shape.patch)
    backbone = timm_models.build(architecture, spec, origin)
    backbone.encoder.load_state_dict(weights)
    return backbone


def _grid(shape: Shape, image_size: int | None, format_: Format, path: Path) -> int:
    """Patches a side at the size asked for."""
    if image_size is None:
        return shape.grid
    refuse_rest(path.name, shape.patch, image_size)
    grid = image_size // shape.patch
    if format_.network == "beit" and grid != shape.grid < SMALLEST_GRID:
        raise InputError(
            f"{path.name} has positions of {shape.grid} x {shape.grid} patches, too few to draw a "
            f"curve through. Leave --image-size out."
        )
    return grid


def _for_grid(
    stored: Mapping[str, Tensor], shape: Shape, format_: Format, grid: int
) -> dict[str, Tensor]:
    """The weights in float32, their positions resized as the authors of the format do."""
    weights = {key: tensor.float() for key, tensor in stored.items()}
    for key in weights:
        if key.endswith("relative_position_bias_table"):
            weights[key] = resize_relative(weights[key], grid)
    if "pos_embed" not in weights:
        return weights
    registers = "reg_token" in weights
    resize = bicubic_antialiased if registers else format_.resize
    positions = resize_absolute(weights["pos_embed"], shape.prefix, grid, resize)
    if registers:  # timm places the patches only; the class token carries its own position
        own, token = positions[:, :1], weights.get("cls_token")
        if token is not None and token.shape == own.shape:  # another would be a misfit, and is told
            weights["cls_token"] = token + own
        positions = positions[:, 1:]
    return weights | {"pos_embed": positions}


def _name(weights: Mapping[str, Tensor], format_: Format) -> str:
    """timm's model whose parts these are; its sizes are all given as arguments."""
    if format_.network == "beit":
        return "beit_base_patch16_224"
    if "dist_token" in weights:
        return "deit_base_distilled_patch16_224"
    hidden, inner = weights["blocks.0.mlp.fc1.weight"], weights.get("blocks.0.mlp.fc2.weight")
    gated = inner is not None and inner.ndim == 2 and 2 * inner.shape[1] == len(hidden)
    return "vit_giant_patch14_dinov2" if gated else "vit_base_patch16_224"


def _parts(weights: Mapping[str, Tensor], shape: Shape, format_: Format) -> dict[str, Any]:
    """Which of its optional parts the network has, from the tensors that are there."""
    if format_.network == "beit":
        return {
            "use_abs_pos_emb": False,
            "use_rel_pos_bias": FIRST_TABLE in weights,
            "use_shared_rel_pos_bias": SHARED in weights,
            "qkv_bias": "blocks.0.attn.q_bias" in weights,
            "init_values": 0.1 if "blocks.0.gamma_1" in weights else None,
        }
    registers = weights.get("reg_token")
    scaled = "blocks.0.ls1.gamma" in weights or "blocks.#.ls1.gamma" in format_.needs
    return {
        "reg_tokens": registers.shape[1] if registers is not None and registers.ndim == 3 else 0,
        "no_embed_class": registers is not None or shape.prefix == 0,
        "qkv_bias": "blocks.0.attn.qkv.bias" in weights,
        "init_values": 1e-5 if scaled else None,
    }


def _authors_pool(format_: Format, renamed: Renamed) -> Pool:
    """The format's, but of a file that was fine-tuned on its class token, that one."""
    tuned_on_token = "head.weight" in renamed.left_over and "fc_norm.weight" not in renamed.weights
    return "cls" if format_.fresh_norm and tuned_on_token else format_.pool


def _pooling(
    pool: Pool, format_: Format, weights: Mapping[str, Tensor], path: Path
) -> dict[str, Any]:
    """Mean pooling puts the norm after the mean where the authors do, else before it."""
    if pool not in POOLS or (pool == "mean" and "dist_token" in weights):
        ways = "cls" if "dist_token" in weights else "cls or mean"
        raise InputError(f"{path.name} cannot pool by {pool!r}. Use {ways}.")
    after = pool == "mean" and format_.fresh_norm
    return {
        "global_pool": POOLS[pool],
        ("use_fc_norm" if format_.network == "beit" else "fc_norm"): after,
    }


def _heads(shape: Shape, format_: Format, asked: str | None, path: Path) -> int:
    known = shape.heads or format_.heads.get(shape.width)
    if asked is None and known is None:
        raise InputError(
            f"{path.name} is {shape.width} wide, which no released model of its format is, and the "
            f"file does not say its number of attention heads. Give it: file:{path}?heads=6"
        )
    if asked is None:
        assert known is not None
        return known
    if not asked.isdecimal() or int(asked) < 1 or shape.width % int(asked):
        raise InputError(
            f"heads={asked} of {path.name} is no whole number that divides its width, "
            f"{shape.width}."
        )
    if shape.heads not in (None, int(asked)):
        raise InputError(f"{path.name} has {shape.heads} attention heads, not {asked}.")
    return int(asked)


def _input_spec(format_: Format, file: CheckpointFile, size: int) -> InputSpec:
    mean, std = format_.normalisation
    told = file.arguments.get("imagenet_default_mean_and_std")
    if format_.network == "beit" and isinstance(told, bool):
        mean, std = IMAGENET if told else HALF
    crop = 1.0 if size >= WHOLE_IMAGE else format_.crop_fraction
    return InputSpec(size=size, mean=mean, std=std, crop_fraction=crop)


def _complete(
    weights: Mapping[str, Tensor],
    architecture: Architecture,
    reading: Reading,
    file: CheckpointFile,
) -> dict[str, Tensor]:
    """Exactly the tensors of the architecture, or a list of what differs."""
    format_, renamed = FORMATS[reading.format], reading.renamed
    shapes = timm_models.shapes(architecture)
    spare = _spare_norms(weights, shapes) if format_.fresh_norm else set()
    used = {key: tensor for key, tensor in weights.items() if key in shapes or key not in spare}
    if format_.fresh_norm and "fc_norm.weight" in shapes and not used.keys() & _FRESH:
        used |= {key: torch.full(shapes[key], value) for key, value in _FRESH.items()}
    faults = differences(shapes_of(renamed.strangers), {})  # under the file's own names
    faults += differences(shapes_of(used), shapes)
    faults += [
        f"{key} is of {tensor.dtype}, which is no floating point"
        for key, tensor in renamed.weights.items()
        if not tensor.is_floating_point()
    ]
    if faults or reading.contradicted:
        raise misfit(
            f"{file.path} does not fit its format, {reading.format}", faults, reading.advice
        )
    return used


def _spare_norms(weights: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> set[str]:
    """The keys of a norm that is not in use; one that is no norm of this width stays a stranger."""
    shape = shapes["blocks.0.norm1.weight"]
    return {
        key
        for norm in NORMS
        if all(key in weights and tuple(weights[key].shape) == shape for key in norm)
        for key in norm
        if key not in shapes
    }


_FRESH = {"fc_norm.weight": 1.0, "fc_norm.bias": 0.0}
