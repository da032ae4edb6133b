"""What differs between the tensors of a file and those of a network, said alike everywhere."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from lacvit.errors import InputError

Shapes = Mapping[str, Sequence[int] | None]  # by key; None: not known

# Of timm and of transformers; where a stage has blocks, they count and not the stage.
BLOCKS = (re.compile(r"(.*\bblocks\.\d+)\."), re.compile(r"(.*\blayers?\.\d+)\."))
PATCHES = re.compile(r"patch_embed(ding)?s?(\.proj(ection)?)?\.weight$")
STEM = "patch_embed"  # of a hybrid: a network of its own, with blocks that are not counted


class Sizes(NamedTuple):
    """What tells the sizes of one architecture apart."""

    width: int
    depth: int
    patch: int

    def __str__(self) -> str:
        return f"{self.width} wide, {self.depth} blocks deep, in patches of {self.patch} pixels"


def shapes_of(tensors: Mapping[str, object]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor, by its key."""
    return {key: tuple(one.shape) for key, one in tensors.items() if isinstance(one, Tensor)}


def differences(file: Shapes, model: Shapes) -> list[str]:
    """A line for each key that one side lacks, and for each that has another shape in each."""
    only = sorted(file.keys() - model.keys()), sorted(model.keys() - file.keys())
    faults = [f"in the file only: {key} {_text(file[key])}".rstrip() for key in only[0]]
    faults += [f"in the model only: {key} {_text(model[key])}".rstrip() for key in only[1]]
    return faults + [
        f"{key} is {_text(file[key])} in the file and {_text(model[key])} in the model"
        for key in sorted(file.keys() & model.keys())
        if _text(file[key]) != _text(model[key])
    ]


def misfit(said: str, faults: Sequence[str], advice: str = "") -> InputError:
    """The refusal of weights: what they do not fit, every fault on its line, what would fit."""
    return InputError("\n  ".join([f"{said}:", *faults, *([advice] if advice else [])]))


def sizes_of(shapes: Shapes) -> Sizes | None:
    """The size of the vision transformer whose tensors have these shapes, if it cuts patches."""
    found = [shape for key, shape in shapes.items() if PATCHES.search(key) and shape is not None]
    patches = next((shape for shape in found if len(shape) == 4), None)
    trunk = [key for key in shapes if STEM not in key]
    counts = [len({m[1] for key in trunk if (m := pattern.match(key))}) for pattern in BLOCKS]
    depth = next((count for count in counts if count), 0)
    return None if patches is None else Sizes(patches[0], depth, patches[-1])


def _text(shape: Sequence[int] | None) -> str:
    return "" if shape is None else str(tuple(shape))
