import numpy as np
import pytest
from clouds import classes, other_pairs, simplex, unit
from scipy.special import hyp0f1

from lacvit.metrics import uniformity as module
from lacvit.metrics.uniformity import alignment, uniformity


def squared_distances(x):
    u = unit(x)
    return ((u[:, None] - u) ** 2).sum(axis=2)


@pytest.mark.parametrize("seed", range(4))
def test_both_equal_their_definitions(seed):
    x, labels = classes(seed)
    squared = squared_distances(x)
    different = other_pairs(len(x))
    same = (labels[:, None] == labels) & different
    assert alignment(x, labels) == pytest.approx(squared[same].mean())
    found = uniformity(x)
    assert found.value == pytest.approx(np.log(np.exp(-2 * squared[different]).mean()))
    assert found.error == 0


@pytest.mark.parametrize("n_classes", [2, 5])
def test_a_collapsed_simplex(n_classes):
    x, labels = simplex(n_classes, per_class=8, d=9), np.repeat(np.arange(n_classes), 8)
    same = 7 / (len(x) - 1)
    apart = np.exp(-4 * n_classes / (n_classes - 1))
    assert alignment(x, labels) == pytest.approx(0, abs=1e-12)
    assert uniformity(x).value == pytest.approx(np.log(same + (1 - same) * apart))


def test_bounds():
    assert uniformity(np.ones((9, 3))).value == pytest.approx(0)
    corners = simplex(9, per_class=1, d=9)  # the most even nine points
    assert uniformity(corners).value == pytest.approx(-4 * 9 / 8)
    assert alignment(np.array([[1.0, 0.0], [-1.0, 0.0]]), np.zeros(2)) == pytest.approx(4)
    assert np.isnan(alignment(np.eye(3), np.arange(3)))


@pytest.mark.parametrize("d", [2, 16])
def test_uniform_directions(d):
    x = np.random.default_rng(d).normal(size=(10_000, d))
    found = uniformity(x, pairs=100_000)
    expected = -4 + np.log(hyp0f1(d / 2, 4.0))
    assert 0 < found.error < 0.012
    assert found.value == pytest.approx(expected, abs=4 * found.error)


def test_the_error_of_drawn_pairs_is_the_stated_one(monkeypatch):
    x, _ = classes(0, n=400)
    exact = uniformity(x).value
    monkeypatch.setattr(module, "EXACT_ROWS", 10)
    drawn = [uniformity(x, pairs=3000, seed=seed) for seed in range(60)]
    misses = [(estimate.value - exact) / estimate.error for estimate in drawn]
    assert 0.6 < np.mean(np.square(misses)) < 1.6  # chi-squared of 60: 99.9 % within
    assert drawn[0] == uniformity(x, pairs=3000, seed=0)
