"""What a checkpoint is: its format, its tensors under timm's names, and the size of its network.

No network is built here, so that inspecting a file of gigabytes costs no more than reading it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl

from torch import Tensor

from lacvit.backbones.checkpoint_files import CheckpointFile
from lacvit.backbones.formats import (
    FIRST_TABLE,
    FORMATS,
    SHARED,
    Renamed,
    Sign,
    find_elsewhere,
    find_sign,
    rename,
)
from lacvit.backbones.jax_layout import heads_in, to_torch_layout
from lacvit.backbones.positions import EXTRA_DISTANCES, distances_along
from lacvit.errors import InputError


@dataclass(frozen=True)
class Reading:
    """A file in a format's terms."""

    format: str
    evidence: str  # what decided the format, for the user
    renamed: Renamed
    advice: str = ""  # where another format than the one asked for would fit
    contradicted: bool = False  # whether that is sure, though all keys may find a place here


@dataclass(frozen=True)
class Shape:
    """The size of a vision transformer, as its tensors tell it."""

    width: int
    depth: int
    hidden: int  # width of the first layer of each MLP
    patch: int
    grid: int  # patches a side
    prefix: int  # tokens before the patches that have positions of their own
    heads: int | None  # where the file tells


def split_options(text: str) -> tuple[Path, dict[str, str]]:
    """Path and options of ``PATH?format=mae&heads=6``.

    Raises:
        InputError: another option.
    """
    location, _, query = text.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    unknown = options.keys() - {"format", "heads"}
    if unknown:
        raise InputError(f"file:{location} has no option {min(unknown)!r}: use format and heads.")
    return Path(location).expanduser(), options


def check_format(asked: str | None) -> None:
    """Refuse the name of a format that is none.

    Raises:
        InputError: no such format.
    """
    if asked is not None and asked not in FORMATS:
        raise InputError(f"There is no checkpoint format {asked!r}. Known: {', '.join(FORMATS)}.")


def read_as(file: CheckpointFile, asked: str | None) -> Reading:
    """The file's tensors by the format asked for, or else by the one that its keys decide.

    Raises:
        InputError: no such format; or none asked for and none sure, and which might do.
    """
    check_format(asked)
    sign = find_sign(file)
    if asked is None and sign is None:
        raise InputError(_unsure(file))
    if asked is None:
        assert sign is not None
        return Reading(sign.format, f"decided by {sign}", _renamed(file, sign.format))
    return Reading(
        asked,
        "as asked for",
        _renamed(file, asked),
        advice=_what_fits(file, sign, asked),
        contradicted=sign is not None and sign.sure and sign.format != asked,
    )


def _what_fits(file: CheckpointFile, sign: Sign | None, asked: str) -> str:
    """The formats that a file's keys are those of, where the one asked for is none of them."""
    fitting = candidates(file) if sign is None else [sign.format]
    if asked in fitting or not fitting:
        return ""
    what = "keys" if sign is None else str(sign)
    return f"Its {what} would fit {' or '.join(fitting)}: file:{file.path}?format={fitting[0]}"


def _renamed(file: CheckpointFile, name: str) -> Renamed:
    """Under timm's names and, from JAX, in torch's layout."""
    tensors = to_torch_layout(file.tensors) if name == "npz" else file.tensors
    return rename(tensors, FORMATS[name])


def candidates(file: CheckpointFile) -> list[str]:
    """The formats whose tables know every key of a file, and that find positions in it."""
    fitting = []
    for name, format_ in FORMATS.items():
        renamed = _renamed(file, name)
        placed = any(key in renamed.weights for key in ("pos_embed", SHARED, FIRST_TABLE))
        sound = all(key.replace("#", "0") in renamed.weights for key in format_.needs)
        if placed and sound and not renamed.strangers:
            fitting.append(name)
    return fitting


def _unsure(file: CheckpointFile) -> str:
    elsewhere, fitting = find_elsewhere(file.tensors), candidates(file)
    if elsewhere is not None:
        return f"{file.path} is {elsewhere}."
    if fitting:
        return (
            f"{file.path} does not say which format it has: its keys are those of "
            f"{' and '.join(fitting)} alike, which differ in pooling, normalisation or sizes. Say "
            f"which it is, such as file:{file.path}?format={fitting[0]}"
        )
    return (
        f"{file.path} has none of the formats known here ({', '.join(FORMATS)}); its first keys "
        f"are {', '.join(list(file.tensors)[:4])}. A model of timm or transformers is loaded by "
        f"timm: or hf:, not file:."
    )


def measure(file: CheckpointFile, reading: Reading) -> Shape:
    """The size of the network whose tensors these are.

    Raises:
        InputError: there is no vision transformer in the file, or none with positions.
    """
    weights = reading.renamed.weights
    depth = 1 + max((_block(key) for key in weights), default=-1)
    patch, hidden = weights.get("patch_embed.proj.weight"), weights.get("blocks.0.mlp.fc1.weight")
    sound = patch is not None and patch.ndim == 4 and patch.shape[-1] == patch.shape[-2]
    if patch is None or hidden is None or hidden.ndim == 0 or not sound:
        found = "none" if patch is None else f"of shape {tuple(patch.shape)}"
        raise InputError(
            f"{file.path} is no vision transformer of format {reading.format}: patch embedding "
            f"{found}, {depth} blocks. {_hint(file, reading)}".strip()
        )
    shape = Shape(
        width=patch.shape[0],
        depth=depth,
        hidden=len(hidden),
        patch=patch.shape[-1],
        grid=0,
        prefix=1,
        heads=heads_in(file.tensors),
    )
    table = weights.get(SHARED, weights.get(FIRST_TABLE))
    if table is not None:
        return _with_table(shape, table, file.path)
    return _with_positions(shape, weights, reading, file)


def _with_table(shape: Shape, table_RN: Tensor, path: Path) -> Shape:
    along = distances_along(table_RN) if table_RN.ndim == 2 else 0
    if along % 2 == 0 or along**2 + EXTRA_DISTANCES != len(table_RN):
        raise InputError(
            f"{path} has a table of relative positions of shape {tuple(table_RN.shape)}, which is "
            f"none of a square of patches and a class token."
        )
    return replace(shape, grid=(along + 1) // 2, heads=table_RN.shape[1])


def _with_positions(
    shape: Shape, weights: Mapping[str, Tensor], reading: Reading, file: CheckpointFile
) -> Shape:
    positions = weights.get("pos_embed")
    count = positions.shape[1] if positions is not None and positions.ndim == 3 else 0
    tokens = 2 if "dist_token" in weights else 1
    for prefix in (tokens, 0) if reading.format == "deit" else (tokens,):  # 0: the third DeiT
        grid = math.isqrt(max(0, count - prefix))
        if grid and grid**2 == count - prefix:
            return replace(shape, grid=grid, prefix=prefix)
    found = "none" if positions is None else f"of shape {tuple(positions.shape)}"
    raise InputError(
        f"{file.path} has no positions of a square of patches (found: {found}), and a network "
        f"without them would see a bag of patches. {_hint(file, reading)}".strip()
    )


def _hint(file: CheckpointFile, reading: Reading) -> str:
    elsewhere = find_elsewhere(file.tensors)
    return reading.advice or (f"It looks like {elsewhere}." if elsewhere else "")


def _block(key: str) -> int:
    start, _, rest = key.partition(".")
    return int(rest.partition(".")[0]) if start == "blocks" else -1
