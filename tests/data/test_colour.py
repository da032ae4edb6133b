"""Colour changes against torchvision's functional ones, on float images."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lacvit.backbones.torchvision_shim import ensure_torchvision
from lacvit.data.colour import grey, jitter_, turn_hue

ensure_torchvision()
from torchvision.transforms.v2 import functional as torchvision  # noqa: E402

OPERATIONS = (
    torchvision.adjust_brightness,
    torchvision.adjust_contrast,
    torchvision.adjust_saturation,
    torchvision.adjust_hue,
)

# Of values up to 1 in float32, measured over 60 seeds: a blend at most 2.4e-7, hue 1.3e-6, all
# four in a row 2.3e-6.
TOLERANCE, HUE_TOLERANCE, CHAIN_TOLERANCE = 1e-6, 4e-6, 8e-6


def pixels(batch: int = 6, seed: int = 0) -> Tensor:
    """Random colours, with greys, pure colours, black, white and ties among them."""
    generator = torch.Generator().manual_seed(seed)
    random = torch.rand(batch, 3, 256, generator=generator)
    random[0, :, :128] = (random[0, :, :128] * 3).floor() / 2  # ties of two and three channels
    random[1, :, :9] = random[1, :1, :9]  # greys
    return random


def picture(pixels_BCP: Tensor) -> Tensor:
    return pixels_BCP.view(*pixels_BCP.shape[:2], 16, 16)


@pytest.mark.parametrize("operation", range(3))
@pytest.mark.parametrize("factor", [0.0, 0.3, 1.0, 1.4, 3.0])
def test_each_blend_is_torchvisions(operation, factor):
    before = pixels()
    factors = torch.tensor([1.0, 1.0, 1.0, 0.0]).repeat(6, 1)
    factors[:, operation] = factor
    expected = OPERATIONS[operation](picture(before), factor).flatten(2)
    found = jitter_(before.clone(), factors, torch.arange(4).expand(6, -1))
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(turns=st.floats(-0.5, 0.5, width=32), seed=st.integers(0, 100))
def test_hue_is_torchvisions(turns, seed):
    before = pixels(seed=seed)
    expected = torchvision.adjust_hue(picture(before), turns).flatten(2)
    found = turn_hue(before, torch.full((6,), turns))
    torch.testing.assert_close(found, expected, rtol=0, atol=HUE_TOLERANCE)


@pytest.mark.parametrize("turns", [0.0, 1.0, -1.0])
def test_a_full_circle_of_hue_changes_nothing(turns):
    before = pixels()
    after = turn_hue(before, torch.full((6,), turns))
    torch.testing.assert_close(after, before, rtol=0, atol=HUE_TOLERANCE)


def test_a_third_of_the_circle_exchanges_the_channels():
    before = pixels()
    after = turn_hue(before, torch.full((6,), 1 / 3))
    torch.testing.assert_close(after, before[:, [2, 0, 1]], rtol=0, atol=HUE_TOLERANCE)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_every_order_is_torchvisions(order):
    before = pixels(4)
    generator = torch.Generator().manual_seed(sum(10**i * o for i, o in enumerate(order)))
    factors = 0.6 + 0.8 * torch.rand(4, 4, generator=generator)
    factors[:, 3] = 0.25 * (factors[:, 3] - 1)
    expected = []
    for image, own in zip(picture(before), factors, strict=True):
        for operation in order:
            image = OPERATIONS[operation](image, float(own[operation]))
        expected.append(image)
    found = jitter_(before.clone(), factors, torch.tensor(order).expand(4, -1))
    torch.testing.assert_close(
        found, torch.stack(expected).flatten(2), rtol=0, atol=CHAIN_TOLERANCE
    )


def test_every_image_has_an_order_of_its_own():
    before = pixels(24)
    order = torch.tensor(list(itertools.permutations(range(4))))
    factors = torch.tensor([1.3, 0.7, 1.2, 0.1]).repeat(24, 1)
    together = jitter_(before.clone(), factors, order)
    for row in range(24):
        one = slice(row, row + 1)
        alone = jitter_(before[one].clone(), factors[one], order[one])
        torch.testing.assert_close(together[one], alone, rtol=0, atol=TOLERANCE)


def test_neutral_factors_change_nothing():
    before = pixels()
    factors = torch.tensor([1.0, 1.0, 1.0, 0.0]).repeat(6, 1)
    after = jitter_(before.clone(), factors, torch.arange(4).expand(6, -1))
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_grey_is_torchvisions():
    before = pixels()
    expected = torchvision.rgb_to_grayscale(picture(before)).flatten(1)
    torch.testing.assert_close(grey(before), expected, rtol=0, atol=TOLERANCE)
