"""Crop and resize uint8 images, antialiased and separable, as Pillow and torchvision do.

Two ways, the same weights, columns before rows:

- ``by_matrices``: a stack of one size, on any device. Each image has a small matrix for its
  columns and one for its rows, with its own crop and mirroring in them; two batched products do
  all, in float32.
- ``resize``: torch's 8-bit kernel on the CPU, which rounds to 8 bits after each axis.

Shape letters: B images, C = 3 channels, H x W their size, S the size of the result.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lacvit.input_spec import Interpolation


@dataclass(frozen=True, eq=False)
class Axis:
    """Resampling along one axis: of each image a stretch of pixels, and the outputs wanted.

    ``length_B`` pixels from ``start_B`` become ``target`` pixels; ``outputs_BS`` of these are made.
    """

    start_B: Tensor
    length_B: Tensor
    target: int
    outputs_BS: Tensor

    def matrix(self, source: int, interpolation: Interpolation) -> Tensor:
        """Weights (B, S, source) of the source pixels in each output; every row sums to 1.

        A kernel is centred on each output, stretched by the scale when shrinking, cut off at
        the stretch's ends and normalised.
        """
        scale = (self.length_B / self.target)[:, None]
        centre = (self.outputs_BS + 0.5) * scale
        stretch = scale.clamp(min=1)
        position = torch.arange(source, device=centre.device) - self.start_B[:, None]
        inside = (position >= 0) & (position < self.length_B[:, None])
        distance = ((position + 0.5) / stretch)[:, None, :] - (centre / stretch)[:, :, None]
        weights = _KERNELS[interpolation](distance.abs_()).mul_(inside[:, None, :])
        return weights.div_(weights.sum(-1, keepdim=True))


def by_matrices(
    images_BHWC: Tensor, down: Axis, across: Axis, interpolation: Interpolation
) -> Tensor:
    """``rows @ channel @ columns.T`` for each image and channel: float32 (B, C, S, S), 0 to 1.

    The cubic kernel overshoots at edges; 8-bit images are cut off there after each axis, and so
    are these.
    """
    b, h, w, _ = images_BHWC.shape
    planes_BHCW = images_BHWC.permute(0, 1, 3, 2).to(torch.float32).contiguous()
    columns = across.matrix(w, interpolation).div_(255)
    rows = down.matrix(h, interpolation)
    size = rows.shape[1]
    narrow = torch.bmm(planes_BHCW.view(b, h * 3, w), columns.transpose(1, 2)).clamp_(0, 1)
    short = torch.bmm(rows, narrow.view(b, h, 3 * size)).clamp_(0, 1)
    return short.view(b, size, 3, size).permute(0, 2, 1, 3).contiguous()


def resize(planes_BCHW: Tensor, size: tuple[int, int], interpolation: Interpolation) -> Tensor:
    """uint8 images of one size, on the CPU, at another size: uint8 (B, C, *size)."""
    if planes_BCHW.shape[2:] == size:
        return planes_BCHW
    return functional.interpolate(
        planes_BCHW, size=size, mode=interpolation, antialias=True, align_corners=False
    )


def _triangle(distance: Tensor) -> Tensor:
    return distance.neg_().add_(1).clamp_(min=0)


def _cubic(distance: Tensor) -> Tensor:
    """Keys's cubic, a = -0.5: 1.5 t^3 - 2.5 t^2 + 1 for t < 1, else -0.5 u (1 - u)^2, u = t - 1."""
    near = distance.clamp(max=1)
    far = distance.sub_(1).clamp_(0, 1)
    near = near.square().mul_(near.mul(1.5).sub_(2.5)).add_(1)
    return near.sub_((1 - far).square_().mul_(far).mul_(0.5))


_KERNELS = {"bilinear": _triangle, "bicubic": _cubic}
