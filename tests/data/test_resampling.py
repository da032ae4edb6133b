"""Both ways of resizing against torchvision's, on random crops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import noise, smooth
from torch import Tensor

from lacvit.backbones.torchvision_shim import ensure_torchvision
from lacvit.data.resampling import Axis, by_matrices, resize

ensure_torchvision()
from torchvision.transforms.v2 import functional as torchvision  # noqa: E402
from torchvision.transforms.v2.functional import InterpolationMode  # noqa: E402

# Both sides compute in float32 with values up to 1; measured over 1,500 crops: at most 3.4e-6.
TOLERANCE = 1e-5


def matrices(image: np.ndarray, box: tuple[int, int, int, int], size: int, mode: str) -> Tensor:
    """The crop at ``size``, float32 (3, S, S)."""
    top, left, height, width = (torch.tensor([float(side)]) for side in box)
    outputs = torch.arange(size, dtype=torch.float32)[None]
    down, across = Axis(top, height, size, outputs), Axis(left, width, size, outputs)
    return by_matrices(torch.from_numpy(image)[None], down, across, mode)[0]


def theirs(image: np.ndarray, box: tuple[int, int, int, int], size: int, mode: str) -> Tensor:
    """torchvision's on 8 bits, uint8."""
    planes = torch.from_numpy(image).permute(2, 0, 1)
    kind = InterpolationMode(mode)
    return torchvision.resized_crop(planes, *box, [size, size], kind, antialias=True)


def theirs_in_float(
    image: np.ndarray, box: tuple[int, int, int, int], size: int, mode: str
) -> Tensor:
    """torchvision's in float32, one axis after the other, cut off after each as on 8 bits."""
    planes = torchvision.crop(torch.from_numpy(image).permute(2, 0, 1), *box).float() / 255
    for sides in ([box[2], size], [size, size]):
        kind = InterpolationMode(mode)
        planes = torchvision.resize(planes, sides, kind, antialias=True).clamp(0, 1)
    return planes


@st.composite
def crops(draw):
    height, width = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    box_h, box_w = draw(st.integers(1, height)), draw(st.integers(1, width))
    top = draw(st.integers(0, height - box_h))
    left = draw(st.integers(0, width - box_w))
    make = draw(st.sampled_from([smooth, noise]))
    return make(draw(st.integers(0, 9)), height, width), (top, left, box_h, box_w)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(crop=crops(), size=st.integers(1, 40), mode=st.sampled_from(["bilinear", "bicubic"]))
def test_matrices_are_torchvisions_resized_crop(crop, size, mode):
    image, box = crop
    expected = theirs_in_float(image, box, size, mode)
    torch.testing.assert_close(matrices(image, box, size, mode), expected, rtol=0, atol=TOLERANCE)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(crop=crops(), size=st.integers(1, 40), mode=st.sampled_from(["bilinear", "bicubic"]))
def test_resize_is_torchvisions_on_8_bits(crop, size, mode):
    image, (top, left, height, width) = crop
    part = torch.from_numpy(image)[top : top + height, left : left + width]
    found = resize(part.permute(2, 0, 1)[None], (size, size), mode)[0]
    expected = theirs(image, (top, left, height, width), size, mode)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(crop=crops(), size=st.integers(1, 40), mode=st.sampled_from(["bilinear", "bicubic"]))
def test_both_ways_agree_to_the_rounding_of_8_bits(crop, size, mode):
    """The 8-bit way rounds after each axis, half a level each time, and the second axis can
    enlarge the first error by the cubic kernel's sum of absolute weights, at most 1.25."""
    image, box = crop
    eight = theirs(image, box, size, mode).to(torch.float32) / 255
    fine = matrices(image, box, size, mode)
    assert (eight - fine).abs().max() <= (0.5 + 0.5 * 1.25 + 0.05) / 255


@settings(deadline=None, derandomize=True)
@given(
    source=st.integers(1, 30),
    size=st.integers(1, 30),
    mode=st.sampled_from(["bilinear", "bicubic"]),
    data=st.data(),
)
def test_rows_sum_to_1_and_see_the_crop_alone(source, size, mode, data):
    length = data.draw(st.integers(1, source))
    start = data.draw(st.integers(0, source - length))
    outputs = torch.arange(size, dtype=torch.float32)[None]
    axis = Axis(torch.tensor([float(start)]), torch.tensor([float(length)]), size, outputs)
    matrix = axis.matrix(source, mode)[0]
    torch.testing.assert_close(matrix.sum(1), torch.ones(size), rtol=0, atol=1e-6)
    outside = (torch.arange(source) < start) | (torch.arange(source) >= start + length)
    assert (matrix[:, outside] == 0).all()


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_the_same_size_changes_nothing(mode):
    image = smooth(0, 20, 20)
    expected = torch.from_numpy(image).permute(2, 0, 1).to(torch.float32) / 255
    found = matrices(image, (0, 0, 20, 20), 20, mode)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)
    eight = torch.from_numpy(image).permute(2, 0, 1)[None]
    assert resize(eight, (20, 20), mode) is eight


def test_overshoot_is_cut_off():
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    image[:, 4:] = 255
    found = matrices(image, (0, 0, 8, 8), 32, "bicubic")
    assert found.min() == 0
    assert found.max() == 1
    planes = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    uncut = torchvision.resize(planes, [32, 32], InterpolationMode.BICUBIC, antialias=True)
    assert uncut.max() > 1.01


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_a_stack_is_its_images(mode):
    images = np.stack([smooth(seed, 30, 40) for seed in range(4)])
    boxes = [(0, 0, 30, 40), (3, 5, 10, 20), (29, 39, 1, 1), (1, 0, 20, 7)]
    top, left, height, width = torch.tensor(boxes, dtype=torch.float32).unbind(1)
    outputs = torch.arange(16, dtype=torch.float32).expand(4, -1)
    down, across = Axis(top, height, 16, outputs), Axis(left, width, 16, outputs)
    together = by_matrices(torch.from_numpy(images), down, across, mode)
    for row, box in enumerate(boxes):
        alone = matrices(images[row], box, 16, mode)
        torch.testing.assert_close(together[row], alone, rtol=0, atol=1e-6)
