import numpy as np
import pytest
from clouds import classes, other_pairs, simplex, unit

from lacvit.errors import InputError
from lacvit.metrics.cone import cosine_within_and_between, mean_cosine, partition_isotropy
from lacvit.metrics.spectrum import iso_score


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("centre", [False, True])
def test_mean_cosine_equals_the_full_matrix(seed, centre):
    x, _ = classes(seed)
    u = unit(x - x.mean(axis=0) if centre else x)
    expected = (u @ u.T)[other_pairs(len(x))].mean()
    assert mean_cosine(x, centre=centre) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_within_and_between_equal_the_full_matrix(seed):
    x, labels = classes(seed)
    cosines = unit(x) @ unit(x).T
    same = labels[:, None] == labels
    within, between = cosine_within_and_between(x, labels)
    assert within == pytest.approx(cosines[same & other_pairs(len(x))].mean(), abs=1e-12)
    assert between == pytest.approx(cosines[~same].mean(), abs=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_a_collapsed_simplex(n_classes):
    x = simplex(n_classes, per_class=6, d=16)
    labels = np.repeat(np.arange(n_classes), 6)
    assert mean_cosine(x) == pytest.approx(-1 / (len(x) - 1))
    assert cosine_within_and_between(x, labels) == pytest.approx((1, -1 / (n_classes - 1)))


def test_no_pair_is_not_a_number():
    x, _ = classes(0, n=8)
    assert np.isnan(cosine_within_and_between(x, np.arange(8))[0])
    assert np.isnan(cosine_within_and_between(x, np.zeros(8))[1])


def test_cone_and_spectrum_are_two_things():
    random = np.random.default_rng(0)
    x = random.normal(size=(5_000, 64)) + np.eye(64)[0] * 8
    assert mean_cosine(x) == pytest.approx(0.5, abs=0.01)  # |mean|^2 / (|mean|^2 + 64)
    assert iso_score(x) > 0.98
    assert abs(mean_cosine(x, centre=True)) < 1e-3


def test_a_row_without_direction_has_no_cosine():
    with pytest.raises(InputError, match="features: row 1 of 2 is all zeros"):
        mean_cosine(np.array([[1.0, 0.0], [0.0, 0.0]]))
    with pytest.raises(InputError, match="features after centring: row 0 of 3 is all zeros"):
        mean_cosine(np.array([[1.0, 1.0], [2.0, 1.0], [0.0, 1.0]]), centre=True)


def test_one_direction_has_the_least_partition_isotropy():
    x = np.random.default_rng(0).uniform(1, 2, size=(50, 1)) * np.array([[1.0, 2.0, -1.0]])
    assert partition_isotropy(x) == pytest.approx(np.exp(-2))


def test_both_ends_of_every_axis_are_isotropic():
    assert partition_isotropy(np.vstack([np.eye(6), -np.eye(6)])) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(3))
def test_partition_isotropy_equals_its_definition(seed):
    x, _ = classes(seed)
    u = unit(x)
    directions = np.linalg.eigh(u.T @ u)[1].T
    sums = [np.exp(sign * u @ v).sum() for v in directions for sign in (1, -1)]
    assert partition_isotropy(x) == pytest.approx(min(sums) / max(sums))


def test_an_offset_lowers_partition_isotropy():
    x = np.random.default_rng(0).normal(size=(2000, 16))
    assert partition_isotropy(x) > 0.9
    assert partition_isotropy(x + 2) < 0.2
