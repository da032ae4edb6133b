"""Colour changes of a batch in float32, each image with factors and an order of its own.

They are torchvision's ``adjust_brightness``, ``adjust_contrast``, ``adjust_saturation``,
``adjust_hue`` and ``rgb_to_grayscale`` on float images.

Shape letters: B images, C = 3 channels, P pixels; all pixels run from 0 to 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lacvit.data.augmentation import CONTRAST, HUE, SATURATION

# Weights of red, green and blue in grey: ITU-R BT.601, with torchvision's digits.
_GREY = (0.2989, 0.587, 0.114)


def grey(pixels_BCP: Tensor) -> Tensor:
    """Luminance (B, P)."""
    weights = torch.tensor(_GREY, device=pixels_BCP.device)
    return torch.matmul(weights, pixels_BCP)


def jitter_(pixels_BCP: Tensor, factors_B4: Tensor, order_B4: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue of each image, in its own order, in place.

    The first three are one blend, ``f * pixels + (1 - f) * other``, cut off at 0 and 1, with
    black, the mean grey or each pixel's grey as the other; so every image takes a step at once,
    whichever of the three it is.

    Args:
        factors_B4: brightness, contrast, saturation (1 changes nothing), hue (turns).
        order_B4: which of the four comes first, second, ...; both on the CPU, so that no
            accelerator has to be waited for.
    """
    device = pixels_BCP.device
    for step in range(4):
        operation_B = order_B4[:, step]
        factor_B = factors_B4.gather(1, operation_B[:, None])[:, 0]
        is_hue = operation_B == HUE
        rows = (is_hue & (factor_B != 0)).nonzero()[:, 0]
        blend_B = factor_B.masked_fill(is_hue, 1)
        _blend_(pixels_BCP, blend_B.to(device), operation_B.to(device))
        if len(rows):
            there = rows.to(device)
            pixels_BCP[there] = turn_hue(pixels_BCP[there], factor_B[rows].to(device))
    return pixels_BCP


def _blend_(pixels_BCP: Tensor, factor_B: Tensor, operation_B: Tensor) -> None:
    grey_BP = grey(pixels_BCP)
    mean_share = (1 - factor_B) * (operation_B == CONTRAST) * grey_BP.mean(1)
    grey_share = (1 - factor_B) * (operation_B == SATURATION)
    other_BP = grey_BP.mul_(grey_share[:, None]).add_(mean_share[:, None])
    pixels_BCP.mul_(factor_B[:, None, None]).add_(other_BP[:, None]).clamp_(0, 1)


def turn_hue(pixels_BCP: Tensor, turns_B: Tensor) -> Tensor:
    """Rotate the hue by ``turns_B`` (1 is the full circle), keeping HSV's value and saturation.

    The hue h, in turns, comes from two exchanges that sort the channels. With value v and chroma
    c = v - least, a channel is then ``v - c * clip(2 - 6 |t|, 0, 1)``, where t is ``h - n``
    wrapped to -1/2..1/2 and n, the turn about which that channel is least, is 1/2 for red,
    5/6 for green, 1/6 for blue.
    """
    red, green, blue = pixels_BCP.unbind(1)
    more, least = torch.maximum(green, blue), torch.minimum(green, blue)
    blue_leads = green.clone().lt_(blue)  # 1.0 where the first exchange was made
    value, middle = torch.maximum(red, more), torch.minimum(red, more)
    red_trails = red.clone().lt_(more)  # 1.0 where the second was
    chroma = value - torch.minimum(middle, least)
    offset = blue_leads.mul(2).sub_(1 / 3).mul_(red_trails).sub_(blue_leads)
    tiny = torch.finfo(value.dtype).tiny
    hue = middle.sub_(least).div_((chroma * 6).clamp_(min=tiny)).add_(offset).abs_()
    least_at = torch.tensor([3 / 6, 5 / 6, 1 / 6], device=value.device)[:, None]
    away = hue.add_(turns_B[:, None])[:, None] - least_at
    away = away.sub_(away.round()).abs_().mul_(-6).add_(2).clamp_(0, 1)
    return torch.addcmul(value[:, None], chroma[:, None], away, value=-1)
