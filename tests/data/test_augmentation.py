import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lacvit.backbones.torchvision_shim import ensure_torchvision
from lacvit.data.augmentation import HUE, Augmentation, ViewKeys, choose

ensure_torchvision()
from torchvision.transforms import ColorJitter, RandomResizedCrop  # noqa: E402

KEYS = ViewKeys(seed=0, epoch=0, view=0)
STRONG = Augmentation(
    crop_scale=(0.2, 1.0),
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
    jitter_probability=0.8,
    grey_probability=0.2,
)
N = 4_000


def chosen(augmentation: Augmentation, height: int, width: int, count: int = N):
    sides = np.full(count, height), np.full(count, width)
    return choose(augmentation, KEYS, np.arange(count), *sides)


def assert_same_distribution(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Two-sample Kolmogorov-Smirnov; on discrete values it errs towards agreement."""
    found = stats.ks_2samp(ours, theirs, method="asymp")
    assert found.pvalue > 1e-3, found


@pytest.mark.parametrize(("height", "width"), [(32, 32), (48, 90), (20, 100)])
@pytest.mark.parametrize("scale", [(0.2, 1.0), (0.08, 0.5)])
def test_crops_have_torchvisions_distribution(height, width, scale):
    torch.manual_seed(0)
    image = torch.empty(3, height, width)
    theirs = np.array(
        [RandomResizedCrop.get_params(image, scale, (3 / 4, 4 / 3)) for _ in range(N)]
    )
    ours = chosen(Augmentation(crop_scale=scale), height, width).boxes
    for column in range(4):
        assert_same_distribution(ours[:, column], theirs[:, column])
    assert_same_distribution(ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3])
    assert_same_distribution(ours[:, 3] / ours[:, 2], theirs[:, 3] / theirs[:, 2])


@pytest.mark.parametrize(("height", "width"), [(10, 100), (100, 10), (1, 1), (3, 2)])
def test_where_no_crop_fits_the_centre_is_torchvisions(height, width):
    theirs = RandomResizedCrop.get_params(torch.empty(3, height, width), (2.0, 2.0), (3 / 4, 4 / 3))
    boxes = chosen(Augmentation(crop_scale=(2.0, 2.0)), height, width, 5).boxes
    assert boxes.tolist() == [list(theirs)] * 5


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    height=st.integers(1, 500),
    width=st.integers(1, 500),
    low=st.floats(0.01, 1),
    high=st.floats(0.01, 1),
)
def test_crops_lie_inside_the_image(height, width, low, high):
    augmentation = Augmentation(crop_scale=(min(low, high), max(low, high)))
    top, left, box_h, box_w = chosen(augmentation, height, width, 20).boxes.T
    assert (box_h >= 1).all()
    assert (box_w >= 1).all()
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + box_h <= height).all()
    assert (left + box_w <= width).all()


def test_colour_factors_have_torchvisions_distribution():
    torch.manual_seed(0)
    ranges = ([0.6, 1.4], [0.6, 1.4], [0.6, 1.4], [-0.1, 0.1])
    theirs = np.array([ColorJitter.get_params(*ranges)[1:] for _ in range(N)])
    ours = chosen(STRONG, 8, 8)
    jittered = (ours.factors != [1, 1, 1, 0]).any(axis=1)
    for column in range(4):
        assert_same_distribution(ours.factors[jittered, column], theirs[:, column])


@pytest.mark.parametrize(("strength", "least", "most"), [(0.4, 0.6, 1.4), (1.5, 0.0, 2.5)])
def test_factors_do_not_fall_below_0(strength, least, most):
    augmentation = Augmentation(brightness=strength, jitter_probability=1)
    factors = chosen(augmentation, 8, 8).factors[:, 0]
    assert least <= factors.min() < least + 0.01
    assert most - 0.01 < factors.max() <= most


def test_probabilities():
    views = chosen(STRONG, 8, 8)
    jittered = (views.factors != [1, 1, 1, 0]).any(axis=1)
    for column, probability in ((views.flipped, 0.5), (jittered, 0.8), (views.grey, 0.2)):
        deviation = np.sqrt(probability * (1 - probability) / N)
        assert abs(column.mean() - probability) < 4 * deviation


def test_all_orders_of_the_colour_changes_are_as_likely():
    orders, counts = np.unique(chosen(STRONG, 8, 8).order, axis=0, return_counts=True)
    assert len(orders) == 24
    assert stats.chisquare(counts).pvalue > 1e-4
    assert (np.sort(orders, axis=1) == range(4)).all()


def test_choices_are_independent_of_one_another():
    views = chosen(STRONG, 64, 64)
    groups = [views.boxes.T, views.factors.T, [views.flipped], [views.grey], views.order.T[:1]]
    columns = np.array([column for group in groups for column in group], dtype=float)
    group_of = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    apart = group_of[:, None] != group_of[None, :]  # a crop's sides do go together, for one
    assert np.abs(np.corrcoef(columns)[apart]).max() < 5 / np.sqrt(N)


def test_a_choice_depends_on_its_own_keys_alone():
    together = chosen(STRONG, 40, 60, 50)
    alone = choose(STRONG, KEYS, np.array([17]), np.array([40]), np.array([60]))
    for name, column in vars(alone).items():
        np.testing.assert_array_equal(column[0], getattr(together, name)[17])


@pytest.mark.parametrize("other", [ViewKeys(1, 0, 0), ViewKeys(0, 1, 0), ViewKeys(0, 0, 1)])
def test_every_key_gives_another_choice(other):
    sides = np.full(100, 64), np.full(100, 64)
    first = choose(STRONG, KEYS, np.arange(100), *sides)
    second = choose(STRONG, other, np.arange(100), *sides)
    assert (first.boxes != second.boxes).any(axis=1).mean() > 0.9


def test_the_default_takes_the_whole_image_and_leaves_its_colours():
    views = chosen(Augmentation(), 9, 9, 100)
    assert (views.boxes == [0, 0, 9, 9]).all()
    assert (views.factors == [1, 1, 1, 0]).all()
    assert not views.grey.any()
    assert not Augmentation().jitters
    assert 20 < views.flipped.sum() < 80


def test_without_jitter_probability_no_factor_changes():
    augmentation = Augmentation(brightness=0.4, hue=0.1)
    assert not augmentation.jitters
    assert (chosen(augmentation, 8, 8, 50).factors[:, HUE] == 0).all()
