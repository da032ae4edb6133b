"""What is done to each image of a view: drawn here as plain arrays, applied by ``views``.

The distributions are those of torchvision's RandomResizedCrop, RandomHorizontalFlip,
ColorJitter (with a probability of being applied at all) and RandomGrayscale, in that order.

Shape letters: B images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from lacvit.data.draws import uniforms

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)

# torchvision tries ten crops, then takes the largest central one of an allowed ratio.
_TRIES = 10
_RATIO = (3 / 4, 4 / 3)  # least and largest width over height, drawn evenly in its logarithm


@dataclass(frozen=True)
class Augmentation:
    """Strengths of a random view; the defaults flip half of the images, and crop no more
    of a long one than leaves it three by four.

    Attributes:
        crop_scale: least and largest share of the image's area.
        flip: probability of a mirrored view.
        brightness, contrast, saturation: factors are drawn from 1 - x to 1 + x, not below 0.
        hue: turns are drawn from -x to x, at most 0.5.
        jitter_probability: probability that the four above are applied, in random order.
        grey_probability: probability of a view without colour.
    """

    crop_scale: tuple[float, float] = (1.0, 1.0)
    flip: float = 0.5
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    jitter_probability: float = 0.0
    grey_probability: float = 0.0

    @property
    def jitters(self) -> bool:
        """Whether any colour can change, greying aside."""
        strengths = self.brightness, self.contrast, self.saturation, self.hue
        return self.jitter_probability > 0 and max(strengths) > 0


@dataclass(frozen=True, eq=False)
class ViewKeys:
    """What a view's randomness depends on, and nothing else."""

    seed: int
    epoch: int
    view: int


@dataclass(frozen=True, eq=False)
class ViewChoices:
    """One view of each of B images, in numbers.

    Attributes:
        boxes: int64 (B, 4): top, left, height, width of the crop, inside the image.
        flipped: bool (B,).
        factors: float32 (B, 4): brightness, contrast, saturation (1 changes nothing), hue
            (turns; 0 changes nothing).
        order: int64 (B, 4): which of the four comes first, second, ...
        grey: bool (B,).
    """

    boxes: npt.NDArray[np.int64]
    flipped: npt.NDArray[np.bool_]
    factors: npt.NDArray[np.float32]
    order: npt.NDArray[np.int64]
    grey: npt.NDArray[np.bool_]

    def __getitem__(self, rows: slice) -> Self:
        return replace(self, **{name: column[rows] for name, column in vars(self).items()})


def choose(
    augmentation: Augmentation,
    keys: ViewKeys,
    indices: npt.NDArray[np.integer],
    heights: npt.NDArray[np.integer],
    widths: npt.NDArray[np.integer],
) -> ViewChoices:
    """Draw a view of each image; a pure function of the keys, the index and the image's size.

    Args:
        indices: (B,), the images' positions in the data set.
        heights, widths: (B,), their sizes in pixels.
    """
    draws = uniforms(indices, 2 * _TRIES + 13, seed=keys.seed, epoch=keys.epoch, view=keys.view)
    crop, rest = draws[:, : 2 * _TRIES + 2], draws[:, 2 * _TRIES + 2 :]
    jittered = rest[:, 1] < augmentation.jitter_probability
    factors = np.where(jittered[:, None], _factors(rest[:, 2:6], augmentation), [1, 1, 1, 0])
    return ViewChoices(
        boxes=_boxes(crop, heights, widths, augmentation),
        flipped=rest[:, 0] < augmentation.flip,
        factors=factors.astype(np.float32),
        order=np.argsort(rest[:, 6:10], axis=1),
        grey=rest[:, 10] < augmentation.grey_probability,
    )


def _factors(draws: npt.NDArray[np.float64], augmentation: Augmentation) -> npt.NDArray[np.float64]:
    strengths = np.array([augmentation.brightness, augmentation.contrast, augmentation.saturation])
    low, high = np.maximum(1 - strengths, 0), 1 + strengths
    blends = low + (high - low) * draws[:, :3]
    hue = augmentation.hue * (2 * draws[:, 3:] - 1)
    return np.concatenate([blends, hue], axis=1)


def _boxes(
    draws: npt.NDArray[np.float64],
    heights: npt.NDArray[np.integer],
    widths: npt.NDArray[np.integer],
    augmentation: Augmentation,
) -> npt.NDArray[np.int64]:
    """Crop boxes as RandomResizedCrop.get_params draws them, all ten tries at once."""
    h, w = heights.astype(np.int64)[:, None], widths.astype(np.int64)[:, None]
    low, high = augmentation.crop_scale
    areas = h * w * (low + (high - low) * draws[:, :_TRIES])
    least, most = np.log(_RATIO)
    ratios = np.exp(least + (most - least) * draws[:, _TRIES : 2 * _TRIES])
    tried_w = np.rint(np.sqrt(areas * ratios)).astype(np.int64)
    tried_h = np.rint(np.sqrt(areas / ratios)).astype(np.int64)
    fits = (tried_w > 0) & (tried_w <= w) & (tried_h > 0) & (tried_h <= h)
    first = np.argmax(fits, axis=1)[:, None]
    box_h = np.take_along_axis(tried_h, first, axis=1)
    box_w = np.take_along_axis(tried_w, first, axis=1)
    top = np.floor(draws[:, -2:-1] * (h - box_h + 1)).astype(np.int64)
    left = np.floor(draws[:, -1:] * (w - box_w + 1)).astype(np.int64)
    drawn = np.concatenate([top, left, box_h, box_w], axis=1)
    return np.where(fits.any(axis=1)[:, None], drawn, _central_boxes(h, w))


def _central_boxes(h: npt.NDArray[np.int64], w: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The largest central crop whose ratio is allowed."""
    least, most = _RATIO
    box_h = np.where(w / h < least, np.rint(w / least).astype(np.int64), h)
    box_w = np.where(w / h > most, np.rint(h * most).astype(np.int64), w)
    return np.concatenate([(h - box_h) // 2, (w - box_w) // 2, box_h, box_w], axis=1)
