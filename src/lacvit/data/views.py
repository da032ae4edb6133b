"""uint8 images to normalised float32 views: crop and resize, flip, colour, normalise.

Cropping and resizing is antialiased and separable, as in Pillow and torchvision. Small images
of one size (and any stack that lies on an accelerator) are resampled together, by a pair of
small matrices an image; others one by one by torch's 8-bit kernel. Colour is changed in
float32, for a whole batch at once, each image with factors and an order of its own.

Shape letters: B images, C = 3 channels, H x W their size, S the size of a view, P = S * S.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from lacvit.data.augmentation import (
    CONTRAST,
    HUE,
    SATURATION,
    Augmentation,
    ViewChoices,
    ViewKeys,
    choose,
)
from lacvit.input_spec import InputSpec, Interpolation

__all__ = ["Augmentation", "Images", "ViewKeys", "evaluation_view", "make_view"]

# A uint8 stack (B, H, W, 3) of one size, or one uint8 array (H, W, 3) an image.
Images = Tensor | Sequence[npt.NDArray[np.uint8]]

# On a CPU, matrices beat the 8-bit kernel up to about this many pixels a side.
LARGEST_BY_MATRICES = 64

# Weights of red, green and blue in grey: ITU-R 601, with torchvision's digits.
_GREY = (0.2989, 0.587, 0.114)


def make_view(
    images: Images,
    indices: npt.NDArray[np.integer],
    spec: InputSpec,
    augmentation: Augmentation,
    keys: ViewKeys,
) -> Tensor:
    """One random view of each image, float32 (B, 3, S, S), normalised by ``spec``.

    Args:
        images: uint8, a stack of one size (on any device) or a list of arrays.
        indices: (B,), the images' positions in the data set; they key the randomness.
        keys: seed, epoch and view, which key it too.
    """
    heights, widths = sizes(images)
    choices = choose(augmentation, keys, indices, heights, widths)
    pixels = crop_and_resize(images, choices, spec)
    return finish_view(pixels, choices, augmentation, spec)


def evaluation_view(images: Images, spec: InputSpec) -> Tensor:
    """The one view that is evaluated: resize, crop the centre, normalise; (B, 3, S, S).

    The shorter side becomes ``round(size / crop_fraction)``, the longer one keeps the ratio
    (rounded down, as torchvision and timm do).
    """
    if isinstance(images, Tensor) and _by_matrices(images, spec.size):
        h, w = images.shape[1:3]
        down, across = _centre(h, w, spec)
        return normalise(_resample(images, down, across, spec.interpolation), spec)
    pixels = torch.stack([_evaluation_pixels(_planes(image), spec) for image in images])
    return normalise(pixels.to(torch.float32).div_(255), spec)


def sizes(images: Images) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Heights and widths, (B,) each."""
    if isinstance(images, Tensor):
        b, h, w = images.shape[:3]
        return np.full(b, h, dtype=np.int64), np.full(b, w, dtype=np.int64)
    shapes = np.array([image.shape[:2] for image in images], dtype=np.int64).reshape(-1, 2)
    return shapes[:, 0], shapes[:, 1]


def crop_and_resize(images: Images, choices: ViewChoices, spec: InputSpec) -> Tensor:
    """The chosen crops at the spec's size, mirrored where chosen: (B, 3, S, S).

    float32 from 0 to 1 by matrices, otherwise uint8.
    """
    if isinstance(images, Tensor) and _by_matrices(images, spec.size):
        boxes = torch.from_numpy(choices.boxes.astype(np.float32)).to(images.device)
        flipped = torch.from_numpy(choices.flipped).to(images.device)
        top, left, height, width = boxes.unbind(1)
        outputs = torch.arange(spec.size, dtype=torch.float32, device=images.device)
        mirrored = torch.where(flipped[:, None], outputs.flip(0), outputs)
        down = _Axis(top, height, spec.size, outputs.expand(len(boxes), -1))
        across = _Axis(left, width, spec.size, mirrored)
        return _resample(images, down, across, spec.interpolation)
    crops = [crop_one(image, box, spec) for image, box in zip(images, choices.boxes, strict=True)]
    pixels = torch.stack(crops)
    rows = torch.from_numpy(np.flatnonzero(choices.flipped))
    pixels[rows] = pixels[rows].flip(-1)
    return pixels


def crop_one(
    image: npt.NDArray[np.uint8] | Tensor, box: npt.NDArray[np.int64], spec: InputSpec
) -> Tensor:
    """One crop at the spec's size, uint8 (3, S, S); torchvision's ``resized_crop`` on uint8."""
    top, left, height, width = (int(side) for side in box)
    crop = _planes(image)[:, top : top + height, left : left + width]
    return _resize(crop, (spec.size, spec.size), spec.interpolation)


def finish_view(
    pixels: Tensor, choices: ViewChoices, augmentation: Augmentation, spec: InputSpec
) -> Tensor:
    """Colour and normalise crops (B, 3, S, S), on the device where they are."""
    if pixels.dtype == torch.uint8:
        pixels = pixels.to(torch.float32).div_(255)
    pixels_BCP = pixels.flatten(2)
    if augmentation.jitters:
        factors = torch.from_numpy(choices.factors).to(pixels.device)
        order = torch.from_numpy(choices.order).to(pixels.device)
        jitter_colours_(pixels_BCP, factors, order)
    if augmentation.grey_probability > 0:
        rows = torch.from_numpy(np.flatnonzero(choices.grey)).to(pixels.device)
        pixels_BCP[rows] = grey(pixels_BCP[rows])[:, None].expand(-1, 3, -1)
    return normalise(pixels, spec)


def normalise(pixels: Tensor, spec: InputSpec) -> Tensor:
    """``(pixels - mean) / std`` in place, each channel by its own."""
    mean = torch.tensor(spec.mean, device=pixels.device)[:, None, None]
    std = torch.tensor(spec.std, device=pixels.device)[:, None, None]
    return pixels.sub_(mean).div_(std)


# ------------------------------------------------------------------------------ resampling


class _Axis:
    """Resampling along one axis: a crop of each image, and which outputs are wanted.

    ``length`` pixels from ``start`` become ``target`` pixels; of these, ``outputs_BS`` are made.
    """

    def __init__(self, start: Tensor, length: Tensor, target: int, outputs_BS: Tensor) -> None:
        self.start, self.length, self.target, self.outputs_BS = start, length, target, outputs_BS

    def matrix(self, source: int, interpolation: Interpolation) -> Tensor:
        """Weights (B, S, source) of the source pixels in each output; every row sums to 1.

        A kernel is centred on each output, stretched by the scale when shrinking, cut off at
        the crop's edges and normalised: Pillow's and torch's antialiased resize.
        """
        scale = (self.length / self.target)[:, None]
        centre = (self.outputs_BS + 0.5) * scale
        stretch = scale.clamp(min=1)
        position = torch.arange(source, device=centre.device) - self.start[:, None]
        inside = (position >= 0) & (position < self.length[:, None])
        scaled = ((position + 0.5) / stretch)[:, None, :] - (centre / stretch)[:, :, None]
        weights = _KERNELS[interpolation](scaled.abs_()).mul_(inside[:, None, :])
        return weights.div_(weights.sum(-1, keepdim=True))


def _triangle(distance: Tensor) -> Tensor:
    return distance.neg_().add_(1).clamp_(min=0)


def _cubic(distance: Tensor) -> Tensor:
    """Keys's cubic, a = -0.5: 1.5 t^3 - 2.5 t^2 + 1 up to t = 1; then -0.5 u (1 - u)^2, u = t - 1."""
    near = distance.clamp(max=1)
    far = distance.sub_(1).clamp_(0, 1)
    near = near.square().mul_(near.mul(1.5).sub_(2.5)).add_(1)
    return near.sub_((1 - far).square_().mul_(far).mul_(0.5))


_KERNELS = {"bilinear": _triangle, "bicubic": _cubic}


def _by_matrices(images: Tensor, size: int) -> bool:
    return images.device.type != "cpu" or max(*images.shape[1:3], size) <= LARGEST_BY_MATRICES


def _resample(images: Tensor, down: _Axis, across: _Axis, interpolation: Interpolation) -> Tensor:
    """``rows @ image @ columns.T`` for each image and channel: float32 (B, 3, S, S) in 0 to 1."""
    b, h, w, _ = images.shape
    planes = images.permute(0, 1, 3, 2).to(torch.float32).contiguous()  # (B, H, 3, W)
    rows = down.matrix(h, interpolation).div_(255).expand(b, -1, -1)
    columns = across.matrix(w, interpolation).expand(b, -1, -1)
    short = torch.bmm(rows, planes.view(b, h, 3 * w))
    narrow = torch.bmm(short.view(b, -1, w), columns.transpose(1, 2))
    size = rows.shape[1]
    # The cubic kernel overshoots at edges; 8-bit images clip there, and so do we.
    return narrow.view(b, size, 3, size).permute(0, 2, 1, 3).contiguous().clamp_(0, 1)


def _centre(h: int, w: int, spec: InputSpec) -> tuple[_Axis, _Axis]:
    """Both axes of resize and centre crop, the same for all images (B = 1)."""
    axes = []
    for length, target in zip((h, w), _resized(h, w, spec), strict=True):
        outputs = torch.arange(spec.size, dtype=torch.float32) + _centre_start(target, spec.size)
        axes.append(_Axis(torch.zeros(1), torch.tensor([float(length)]), target, outputs[None]))
    return axes[0], axes[1]


def _resized(h: int, w: int, spec: InputSpec) -> tuple[int, int]:
    """Height and width after the shorter side became ``round(size / crop_fraction)``."""
    short = round(spec.size / spec.crop_fraction)
    return (short, short * w // h) if h <= w else (short * h // w, short)


def _centre_start(length: int, size: int) -> int:
    return round((length - size) / 2)


def _planes(image: npt.NDArray[np.uint8] | Tensor) -> Tensor:
    stored = image if isinstance(image, Tensor) else torch.from_numpy(image)
    return stored.permute(2, 0, 1)


def _resize(planes: Tensor, size: tuple[int, int], interpolation: Interpolation) -> Tensor:
    """One uint8 image (3, H, W), antialiased; rounded to 8 bits again, as Pillow does."""
    if planes.shape[1:] == size:
        return planes
    return functional.interpolate(
        planes[None], size=size, mode=interpolation, antialias=True, align_corners=False
    )[0]


def _evaluation_pixels(planes: Tensor, spec: InputSpec) -> Tensor:
    h, w = _resized(planes.shape[1], planes.shape[2], spec)
    resized = _resize(planes, (h, w), spec.interpolation)
    top, left = _centre_start(h, spec.size), _centre_start(w, spec.size)
    return resized[:, top : top + spec.size, left : left + spec.size]


# ---------------------------------------------------------------------------------- colour


def grey(pixels_BCP: Tensor) -> Tensor:
    """Luminance, (B, P)."""
    weights = torch.tensor(_GREY, device=pixels_BCP.device)
    return torch.matmul(weights, pixels_BCP)


def jitter_colours_(pixels_BCP: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue of each image, in its own order, in place.

    The first three are one blend, ``f * pixels + (1 - f) * other``, with black, the mean grey
    or each pixel's grey as the other; so every image takes its step at once, whichever it is.
    """
    for step in range(4):
        operation = order[:, step]
        factor = factors.gather(1, operation[:, None])[:, 0]
        is_hue = operation == HUE
        turned = (is_hue & (factor != 0)).nonzero()[:, 0]
        keep = torch.where(is_hue, torch.ones_like(factor), factor)
        _blend_(pixels_BCP, keep, operation)
        if len(turned):
            pixels_BCP[turned] = turn_hue(pixels_BCP[turned], factor[turned])
    return pixels_BCP


def _blend_(pixels_BCP: Tensor, keep: Tensor, operation: Tensor) -> None:
    grey_BP = grey(pixels_BCP)
    add_mean = (1 - keep) * (operation == CONTRAST) * grey_BP.mean(1)
    add_grey = (1 - keep) * (operation == SATURATION)
    other_BP = grey_BP.mul_(add_grey[:, None]).add_(add_mean[:, None])
    pixels_BCP.mul_(keep[:, None, None]).add_(other_BP[:, None]).clamp_(0, 1)


def turn_hue(pixels_BCP: Tensor, turns: Tensor) -> Tensor:
    """Rotate the hue by ``turns`` (1 is the full circle), keeping HSV's value and saturation.

    With value v, chroma c = v - min and hue h in sixths, a channel is
    ``v - c * clip(min(k, 4 - k), 0, 1)``, ``k = (n + h) mod 6``, n = 5, 3, 1 for R, G, B.
    """
    red, green, blue = pixels_BCP.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    is_red = (value == red).to(value.dtype)
    is_green = (value == green).to(value.dtype).mul_(1 - is_red)
    is_blue = 1 - is_red - is_green
    sixths = is_red * (green - blue) + is_green * (blue - red) + is_blue * (red - green)
    sixths = sixths.div_(chroma.clamp(min=torch.finfo(value.dtype).tiny))
    sixths = sixths.add_(2 * is_green).add_(4 * is_blue).add_(6 * turns[:, None])
    shift = torch.tensor([5.0, 3.0, 1.0], device=value.device)[:, None]
    k = sixths[:, None] + shift
    k = k.sub_(torch.floor(k / 6).mul_(6))
    away = torch.minimum(k, 4 - k).clamp_(0, 1)
    return value[:, None] - chroma[:, None] * away
