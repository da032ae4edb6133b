"""Backbones from the files that a model's authors released, each by a literal table.

Every tensor of a file is used, or stands on its format's list of left-over keys, or the load
fails and lists the difference. A file is read without executing anything in it.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

import torch
from safetensors.torch import load_file
from torch import Tensor

from lacvit.backbones import timm_models
from lacvit.backbones.backbone import Architecture, Backbone, Origin
from lacvit.errors import InputError
from lacvit.input_spec import InputSpec

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Format:
    """How one family's files are told apart and read into timm's vision transformer."""

    decides: re.Pattern[str]  # a key that only this format has
    left_over: re.Pattern[str]  # keys that belong to the file and not to the encoder
    known_heads: dict[int, int]  # embedding width -> attention heads, as released
    fresh: dict[str, float]  # the encoder's parameters that no file holds, and their value


FORMATS: dict[str, Format] = {
    # He et al. 2022. Fine-tuning pools the mean of the patch tokens, then fc_norm, which the
    # pretraining file does not hold: the authors start it as the identity.
    "mae": Format(
        decides=re.compile(r"decoder_pred\.weight|decoder_embed\.weight|fc_norm\.weight"),
        left_over=re.compile(r"decoder_.*|mask_token|norm\.(weight|bias)|head\.(weight|bias)"),
        known_heads={768: 12, 1024: 16, 1280: 16},
        fresh={"fc_norm.weight": 1.0, "fc_norm.bias": 0.0},
    ),
}


def load(path_and_options: str, *, image_size: int | None) -> Backbone:
    """The encoder in the file of ``PATH?format=mae&heads=6``; the options may be left out.

    Raises:
        InputError: no such file, nothing recognised in it, it would run code, a tensor without a
            place or a place without a tensor, an unknown option, another image size.
    """
    location, _, query = path_and_options.partition("?")
    options = dict(parse_qsl(query))
    unknown = options.keys() - {"format", "heads"}
    if unknown:
        raise InputError(f"file:{location} has no option {min(unknown)!r}: use format and heads.")
    path = Path(location).expanduser()
    tensors = read_tensors(path)
    name = options.get("format") or _recognise(tensors, path)
    if name not in FORMATS:
        raise InputError(f"There is no checkpoint format {name!r}. Known: {', '.join(FORMATS)}.")
    weights, architecture = _into_timm(tensors, FORMATS[name], path, options.get("heads"))
    size: int = architecture.arguments["img_size"]
    if image_size not in (None, size):
        raise InputError(
            f"{path.name} sees {size} x {size} pixels, not {image_size}. Leave --image-size out."
        )
    spec = InputSpec(size=size, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    origin = Origin(spec=f"file:{path_and_options}", format=name, sha256=sha256)
    backbone = timm_models.build(architecture, spec, origin)
    backbone.encoder.load_state_dict(weights)
    return backbone


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, from under ``model`` where the file nests them.

    Raises:
        InputError: missing, damaged, or a pickle that needs to run code (what it needs is named).
    """
    if not path.is_file():
        raise InputError(f"There is no checkpoint {path}. Check the path after file:")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals([argparse.Namespace]):
            contents = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make torch's reader fail in any way at all
        raise InputError(_why_unreadable(path, error)) from error
    nested = contents.get("model") if isinstance(contents, dict) else None
    contents = nested if isinstance(nested, dict) else contents
    contents = contents if isinstance(contents, dict) else {}
    tensors = {key: value for key, value in contents.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f"{path} holds no tensors, neither at its top nor under 'model'.")
    return tensors


def _why_unreadable(path: Path, error: Exception) -> str:
    try:
        needed = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # any damage at all: then it is no pickle, and needs no globals
        needed = []
    if needed:
        return (
            f"{path} would run code when loaded (it needs {', '.join(needed)}). Nothing was run. "
            f"Save its tensors as safetensors where you trust it, and use that file."
        )
    with path.open("rb") as file:
        head = file.read(16)
    found = f"a file that begins with {head!r}" if head else "an empty file"
    said = (str(error).splitlines() or [type(error).__name__])[0]
    return (
        f"{path} is no whole checkpoint of torch or safetensors: found {found} ({said}). "
        f"Fetch it again, and compare its size or sha256."
    )


def _recognise(tensors: dict[str, Tensor], path: Path) -> str:
    for name, format_ in FORMATS.items():
        if any(format_.decides.fullmatch(key) for key in tensors):
            return name
    raise InputError(
        f"{path} does not say which format it has; its first keys are "
        f"{', '.join(list(tensors)[:4])}. Known: {', '.join(FORMATS)}. If it is one of them (the "
        f"encoder-only files of MAE's authors look like others'), write file:{path}?format=mae."
    )


def _into_timm(
    tensors: dict[str, Tensor], format_: Format, path: Path, heads: str | None
) -> tuple[dict[str, Tensor], Architecture]:
    try:
        patch = tensors["patch_embed.proj.weight"]
        positions = tensors["pos_embed"]
    except KeyError as missing:
        raise InputError(f"{path} has no {missing}: it is no vision transformer.") from None
    depth = len({key.split(".")[1] for key in tensors if key.startswith("blocks.")})
    if patch.ndim != 4 or positions.ndim != 3 or depth == 0:
        raise InputError(
            f"{path} is no vision transformer: patch_embed.proj.weight {tuple(patch.shape)}, "
            f"pos_embed {tuple(positions.shape)}, {depth} blocks."
        )
    width = patch.shape[0]
    grid = round((positions.shape[1] - 1) ** 0.5)
    if heads is None and width not in format_.known_heads:
        raise InputError(
            f"{path.name} is {width} wide, which no released model of its format is, and the "
            f"file does not say its number of attention heads. Give it: file:{path}?heads=6"
        )
    count = heads or str(format_.known_heads[width])
    if not count.isdecimal() or int(count) < 1 or width % int(count):
        raise InputError(
            f"heads={count} of {path.name} is no whole number that divides its width, {width}."
        )
    architecture = Architecture(
        source="timm",
        name="vit_base_patch16_224",
        arguments={
            "img_size": grid * patch.shape[-1],
            "patch_size": patch.shape[-1],
            "embed_dim": width,
            "depth": depth,
            "num_heads": int(count),
            "global_pool": "avg",
        },
    )
    with torch.device("meta"):
        shapes = timm_models.shapes(architecture)
    weights = {key: tensor.float() for key, tensor in tensors.items() if key in shapes}
    fresh = {key: torch.full(shapes[key], value) for key, value in format_.fresh.items()}
    weights = fresh | weights
    _check_complete(tensors, weights, shapes, format_, path)
    return weights, architecture


def _check_complete(
    tensors: dict[str, Tensor],
    weights: dict[str, Tensor],
    shapes: dict[str, torch.Size],
    format_: Format,
    path: Path,
) -> None:
    strangers = [
        key for key in tensors if key not in shapes and not format_.left_over.fullmatch(key)
    ]
    lacking = [key for key in shapes if key not in weights]
    misfits = [
        f"{key} is {tuple(weights[key].shape)} in the file and {tuple(shape)} in the model"
        for key, shape in shapes.items()
        if key in weights and weights[key].shape != shape
    ]
    faults = [f"in the file only: {key} {tuple(tensors[key].shape)}" for key in strangers]
    faults += [f"in the model only: {key} {tuple(shapes[key])}" for key in lacking] + misfits
    if faults:
        raise InputError(f"{path} does not fit its format:\n  " + "\n  ".join(faults))
