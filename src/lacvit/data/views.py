"""uint8 images to normalised float32 views: crop and resize, flip, colour, normalise.

For a random view, a stack of small images of one size (or any stack on an accelerator) is
cropped and resized by matrices; others one by one by the 8-bit kernel, in threads where a pool is
given. Which way is taken depends on the data set and the device, never on the batch.

Shape letters: B images, C = 3 channels, S the size of a view.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lacvit.data.augmentation import Augmentation, ViewChoices, ViewKeys, choose
from lacvit.data.colour import grey, jitter_
from lacvit.data.resampling import Axis, by_matrices, resize
from lacvit.input_spec import InputSpec

__all__ = ["Augmentation", "Images", "Pixels", "ViewKeys", "evaluation_view", "make_view"]

Item = TypeVar("Item")
Pixels = npt.NDArray[np.uint8]

# A uint8 stack (B, H, W, 3) of one size, or one uint8 array (H, W, 3) an image.
Images = Tensor | Sequence[Pixels]

# Up to this many pixels a side, matrices beat the 8-bit kernel on a CPU. Microseconds a crop on one
# loaded core, bilinear: 8 to 32 px 33 against 65, 32 to 32 px 58 against 149, 48 to 48 px 196
# against 147, 96 to 96 px 674 against 133.
LARGEST_BY_MATRICES = 40

# Of an image longer than this, its centre is resized alone: whole, it might not fit in memory.
LONGEST_TO_SHORTEST = 16


def make_view(
    images: Images,
    indices: npt.NDArray[np.integer],
    spec: InputSpec,
    augmentation: Augmentation,
    keys: ViewKeys,
    *,
    pool: Executor | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """One random view of each image, float32 (B, 3, S, S), normalised by ``spec``.

    Args:
        images: uint8, a stack of one size (on any device) or a list of arrays.
        indices: (B,), the images' positions in the data set; they key the randomness.
        keys: seed, epoch and view, which key it too.
        pool: threads that crop a list of images; changes no pixel.
        device: where colours are changed and the view will be.
    """
    heights, widths = _sizes(images)
    choices = choose(augmentation, keys, indices, heights, widths)
    if isinstance(images, Tensor) and _small_enough(images, spec.size):
        pixels = _crops_by_matrices(images, choices, spec).to(device)
    else:
        pixels = _to_unit(_crops_one_by_one(images, choices, spec, pool).to(device))
    _change_colours_(pixels.flatten(2), choices, augmentation)
    return _normalised(pixels, spec)


def evaluation_view(
    images: Images,
    spec: InputSpec,
    *,
    pool: Executor | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """The one view that is evaluated: resize, crop the centre, normalise; (B, 3, S, S).

    The shorter side becomes ``floor(size / crop_fraction)``, the longer one keeps the ratio
    (rounded down, as torchvision and timm do). Always by the 8-bit kernel, so that an image
    is the same in a stack, in a list and alone.
    """
    if isinstance(images, Tensor):
        centres = _centres(images.cpu().permute(0, 3, 1, 2), spec)
    else:
        singles = (torch.from_numpy(image).permute(2, 0, 1)[None] for image in images)
        centres = torch.cat(_each(lambda single: _centres(single, spec), singles, pool))
    return _normalised(_to_unit(centres.to(device)), spec)


def _small_enough(images: Tensor, size: int) -> bool:
    return images.device.type != "cpu" or max(*images.shape[1:3], size) <= LARGEST_BY_MATRICES


def _each(
    work: Callable[[Item], Tensor], items: Iterable[Item], pool: Executor | None
) -> list[Tensor]:
    return list(map(work, items) if pool is None else pool.map(work, items))


def _sizes(images: Images) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Heights and widths, (B,) each."""
    if isinstance(images, Tensor):
        b, h, w = images.shape[:3]
        return np.full(b, h, dtype=np.int64), np.full(b, w, dtype=np.int64)
    shapes = np.array([image.shape[:2] for image in images], dtype=np.int64).reshape(-1, 2)
    return shapes[:, 0], shapes[:, 1]


def _crops_by_matrices(images: Tensor, choices: ViewChoices, spec: InputSpec) -> Tensor:
    """The chosen crops at the spec's size, mirrored where chosen: float32 in 0 to 1."""
    boxes = torch.from_numpy(choices.boxes.astype(np.float32)).to(images.device)
    flipped = torch.from_numpy(choices.flipped).to(images.device)
    top, left, height, width = boxes.unbind(1)
    outputs = torch.arange(spec.size, dtype=torch.float32, device=images.device)
    mirrored = torch.where(flipped[:, None], outputs.flip(0), outputs)
    down = Axis(top, height, spec.size, outputs.expand(len(boxes), -1))
    across = Axis(left, width, spec.size, mirrored)
    return by_matrices(images, down, across, spec.interpolation)


def _crops_one_by_one(
    images: Images, choices: ViewChoices, spec: InputSpec, pool: Executor | None
) -> Tensor:
    """The same, uint8; pixel for pixel torchvision's ``resized_crop`` and flip of uint8."""

    def crop(row: int) -> Tensor:
        top, left, height, width = (int(side) for side in choices.boxes[row])
        part = torch.as_tensor(images[row])[top : top + height, left : left + width]
        resized = resize(part.permute(2, 0, 1)[None], (spec.size, spec.size), spec.interpolation)
        return resized.flip(-1) if choices.flipped[row] else resized

    return torch.cat(_each(crop, range(len(images)), pool))


def _change_colours_(pixels_BCP: Tensor, choices: ViewChoices, augmentation: Augmentation) -> None:
    """Jitter and grey, in place, on the device where the pixels are."""
    if augmentation.jitters:
        jitter_(pixels_BCP, torch.from_numpy(choices.factors), torch.from_numpy(choices.order))
    if augmentation.grey_probability > 0:
        rows = torch.from_numpy(np.flatnonzero(choices.grey)).to(pixels_BCP.device)
        pixels_BCP[rows] = grey(pixels_BCP[rows])[:, None].expand(-1, 3, -1)


def _to_unit(pixels: Tensor) -> Tensor:
    return pixels.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def _normalised(pixels: Tensor, spec: InputSpec) -> Tensor:
    """``(pixels - mean) / std`` in place, each channel by its own."""
    mean = torch.tensor(spec.mean, device=pixels.device)[:, None, None]
    std = torch.tensor(spec.std, device=pixels.device)[:, None, None]
    return pixels.sub_(mean).div_(std)


def _centres(planes: Tensor, spec: InputSpec) -> Tensor:
    """Resize uint8 images of one size, then cut out the centres: uint8 (B, 3, S, S)."""
    h, w = planes.shape[2:]
    target = _resized(h, w, spec)
    top, left = (round((side - spec.size) / 2) for side in target)
    if max(h, w) > LONGEST_TO_SHORTEST * min(h, w):
        down = _part_of_resized(h, target[0], top, spec.size)
        across = _part_of_resized(w, target[1], left, spec.size)
        unit = by_matrices(planes.permute(0, 2, 3, 1), down, across, spec.interpolation)
        return unit.mul_(255).round_().to(torch.uint8)
    resized = resize(planes, target, spec.interpolation)
    return resized[:, :, top : top + spec.size, left : left + spec.size]


def _resized(h: int, w: int, spec: InputSpec) -> tuple[int, int]:
    """Height and width once the shorter side, or each, is ``size / crop_fraction``, rounded down.

    As timm and the authors of MAE do; what is added keeps 224 / (224 / 256) at 256.
    """
    short = math.floor(spec.size / spec.crop_fraction + 1e-6)
    if spec.fit == "squash":
        return short, short
    return (short, short * w // h) if h <= w else (short * h // w, short)


def _part_of_resized(length: int, target: int, first: int, size: int) -> Axis:
    outputs = torch.arange(first, first + size, dtype=torch.float32)[None]
    return Axis(torch.zeros(1), torch.tensor([float(length)]), target, outputs)
