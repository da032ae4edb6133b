"""What a backbone expects to see; it travels with the weights and decides all preprocessing."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Interpolation = Literal["bilinear", "bicubic"]
Fit = Literal["crop", "squash"]
RGB = tuple[float, float, float]


class InputSpec(BaseModel):
    """Size, normalisation and resampling of a backbone's input images.

    An image is resized so that its shorter side is ``floor(size / crop_fraction)`` (``squash``:
    both sides, whatever its shape), cropped in the centre to ``size`` x ``size``, scaled to 0..1,
    then normalised by ``mean`` and ``std``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(gt=0, description="height and width of the input, in pixels")
    mean: RGB = Field(description="subtracted from each channel, which runs from 0 to 1")
    std: RGB = Field(description="divides each channel after the mean is taken off")
    interpolation: Interpolation = Field("bicubic", description="resampling, always antialiased")
    crop_fraction: float = Field(
        1.0, gt=0, le=1, description="share of the shorter side that the centre crop keeps"
    )
    fit: Fit = Field("crop", description="keep the shape and crop, or squash to a square")
