"""uint8 images to normalised float32 views: crop and resize, flip, colour, normalise.

A stack of small images of one size (or any stack on an accelerator) is cropped and resized by
matrices; others one by one by the 8-bit kernel, in threads where a pool is given. Which way is
taken depends on the data set and the device, never on the batch.

Shape letters: B images, C = 3 channels, S the size of a view.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lacvit.data.augmentation import Augmentation, ViewChoices, ViewKeys, choose
from lacvit.data.colour import grey, jitter_
from lacvit.data.resampling import Axis, by_matrices, resize
from lacvit.input_spec import InputSpec

__all__ = ["Augmentation", "Images", "Pixels", "ViewKeys", "evaluation_view", "make_view"]

Pixels = npt.NDArray[np.uint8]

# A uint8 stack (B, H, W, 3) of one size, or one uint8 array (H, W, 3) an image.
Images = Tensor | Sequence[Pixels]

# On a CPU, matrices beat the 8-bit kernel up to about this many pixels a side (benchmarks/data.py).
LARGEST_BY_MATRICES = 64

# An image whose sides differ more than this is not resized whole before its centre is cut out.
LONGEST_TO_SHORTEST = 16


def make_view(
    images: Images,
    indices: npt.NDArray[np.integer],
    spec: InputSpec,
    augmentation: Augmentation,
    keys: ViewKeys,
    pool: Executor | None = None,
) -> Tensor:
    """One random view of each image, float32 (B, 3, S, S), normalised by ``spec``.

    Args:
        images: uint8, a stack of one size (on any device) or a list of arrays.
        indices: (B,), the images' positions in the data set; they key the randomness.
        keys: seed, epoch and view, which key it too.
        pool: threads that share a list of images; changes no pixel.
    """
    heights, widths = _sizes(images)
    choices = choose(augmentation, keys, indices, heights, widths)
    if isinstance(images, Tensor) and _small_enough(images, spec.size):
        pixels = _crops_by_matrices(images, choices, spec)
    else:
        pixels = _crops_one_by_one(images, choices, spec, pool)
    return _coloured(pixels, choices, augmentation, spec)


def evaluation_view(images: Images, spec: InputSpec, pool: Executor | None = None) -> Tensor:
    """The one view that is evaluated: resize, crop the centre, normalise; (B, 3, S, S).

    The shorter side becomes ``round(size / crop_fraction)``, the longer one keeps the ratio
    (rounded down, as torchvision and timm do).
    """
    if isinstance(images, Tensor) and _small_enough(images, spec.size):
        return _normalised(_centres_by_matrices(images, spec), spec)
    centres = _each(lambda image: _centre(image, spec), images, pool)
    return _normalised(_to_unit(torch.stack(centres)), spec)


def _small_enough(images: Tensor, size: int) -> bool:
    return images.device.type != "cpu" or max(*images.shape[1:3], size) <= LARGEST_BY_MATRICES


def _each(
    work: Callable[[Pixels | Tensor], Tensor], images: Images, pool: Executor | None
) -> list[Tensor]:
    return list(map(work, images) if pool is None else pool.map(work, images))


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
        part = _planes(images[row])[:, top : top + height, left : left + width]
        resized = resize(part, (spec.size, spec.size), spec.interpolation)
        return resized.flip(-1) if choices.flipped[row] else resized

    rows = range(len(images))
    return torch.stack(list(map(crop, rows) if pool is None else pool.map(crop, rows)))


def _coloured(
    pixels: Tensor, choices: ViewChoices, augmentation: Augmentation, spec: InputSpec
) -> Tensor:
    """Crops with their colours changed, normalised; on the device where they are."""
    pixels = _to_unit(pixels)
    pixels_BCP = pixels.flatten(2)
    if augmentation.jitters:
        factors = torch.from_numpy(choices.factors).to(pixels.device)
        order = torch.from_numpy(choices.order).to(pixels.device)
        jitter_(pixels_BCP, factors, order)
    if augmentation.grey_probability > 0:
        rows = torch.from_numpy(np.flatnonzero(choices.grey)).to(pixels.device)
        pixels_BCP[rows] = grey(pixels_BCP[rows])[:, None].expand(-1, 3, -1)
    return _normalised(pixels, spec)


def _to_unit(pixels: Tensor) -> Tensor:
    return pixels if pixels.is_floating_point() else pixels.to(torch.float32).div_(255)


def _normalised(pixels: Tensor, spec: InputSpec) -> Tensor:
    """``(pixels - mean) / std`` in place, each channel by its own."""
    mean = torch.tensor(spec.mean, device=pixels.device)[:, None, None]
    std = torch.tensor(spec.std, device=pixels.device)[:, None, None]
    return pixels.sub_(mean).div_(std)


def _planes(image: Pixels | Tensor) -> Tensor:
    stored = image if isinstance(image, Tensor) else torch.from_numpy(image)
    return stored.permute(2, 0, 1)


# ---------------------------------------------------------------------- the centre


def _resized(h: int, w: int, spec: InputSpec) -> tuple[int, int]:
    """Height and width once the shorter side is ``round(size / crop_fraction)``."""
    short = round(spec.size / spec.crop_fraction)
    return (short, short * w // h) if h <= w else (short * h // w, short)


def _margin(length: int, size: int) -> int:
    return round((length - size) / 2)


def _centres_by_matrices(images: Tensor, spec: InputSpec) -> Tensor:
    h, w = images.shape[1:3]
    axes = []
    for length, target in zip((h, w), _resized(h, w, spec), strict=True):
        outputs = torch.arange(spec.size, device=images.device) + _margin(target, spec.size)
        whole = torch.tensor([float(length)], device=images.device)
        axes.append(Axis(torch.zeros_like(whole), whole, target, outputs[None]))
    return by_matrices(images, axes[0], axes[1], spec.interpolation)


def _centre(image: Pixels | Tensor, spec: InputSpec) -> Tensor:
    """Resize one image, then cut out its centre: uint8 (3, S, S)."""
    planes = _planes(image)
    h, w = planes.shape[1:]
    if max(h, w) > LONGEST_TO_SHORTEST * min(h, w):
        unit = _centres_by_matrices(planes.permute(1, 2, 0)[None], spec)[0]
        return unit.mul_(255).round_().to(torch.uint8)
    resized = resize(planes, _resized(h, w, spec), spec.interpolation)
    top, left = (_margin(side, spec.size) for side in resized.shape[1:])
    return resized[:, top : top + spec.size, left : left + spec.size]
