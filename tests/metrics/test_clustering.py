import numpy as np
import pytest
from clouds import classes, simplex

from lacvit.metrics import clustering as module
from lacvit.metrics.clustering import clustering


def test_collapsed_classes_are_found_whatever_their_names():
    names = np.repeat(["c", "a", "b"], 15)
    found = clustering(simplex(3, per_class=15, d=6), names)
    assert (found.nmi, found.ari) == pytest.approx((1, 1))


def test_two_classes_in_one_clump():
    """Three clumps, four classes of ten: two of them cannot be told, and no cluster is mixed."""
    random = np.random.default_rng(0)
    x = simplex(3, per_class=10, d=6)
    x = np.vstack([x, x[20:]]) + 1e-3 * random.normal(size=(40, 6))
    found = clustering(x, np.repeat(np.arange(4), 10))
    assert 0.6 < found.ari < found.nmi < 0.9


def test_chance():
    random = np.random.default_rng(0)
    found = clustering(random.normal(size=(600, 8)), random.integers(0, 4, size=600))
    assert abs(found.ari) < 0.02
    assert 0 <= found.nmi < 0.03


def test_the_seed_decides():
    x, labels = classes(0, noise=2)
    assert clustering(x, labels, seed=1) == clustering(x, labels, seed=1)


def test_fewer_points_than_classes_are_no_warning():
    found = clustering(np.ones((6, 3)), np.arange(6) % 2)
    assert (found.nmi, found.ari) == (0, 0)


def test_many_rows_are_sampled(monkeypatch):
    monkeypatch.setattr(module, "CLUSTERED_ROWS", 20)
    found = clustering(simplex(3, per_class=50, d=6), np.repeat(np.arange(3), 50))
    assert found.ari == pytest.approx(1)
