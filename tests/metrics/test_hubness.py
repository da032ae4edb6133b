import numpy as np
import pytest
from clouds import classes
from scipy import stats
from sklearn.neighbors import NearestNeighbors

from lacvit.errors import InputError
from lacvit.metrics import estimate
from lacvit.metrics.hubness import hubness


@pytest.mark.parametrize("k", [1, 10])
def test_figures_equal_scikit_learns_neighbours(k):
    x, _ = classes(0, n=300)
    search = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(x)
    times = np.bincount(search.kneighbors(return_distance=False).ravel(), minlength=300)
    found = hubness(x, k=k)
    assert found.skewness.value == pytest.approx(stats.skew(times))
    assert found.robin_hood.value == pytest.approx(np.abs(times - k).sum() / (2 * k * 300))
    assert found.antihubs.value == np.mean(times == 0)
    assert found.skewness.error == 0


def test_a_ring_has_no_hubs():
    angle = np.arange(60) * 2 * np.pi / 60
    found = hubness(np.column_stack([np.cos(angle), np.sin(angle)]), k=10)
    values = (found.skewness.value, found.robin_hood.value, found.antihubs.value)
    assert values == (0, 0, 0)


def test_of_copies_each_is_chosen_by_the_other():
    found = hubness(np.repeat(np.random.default_rng(6).normal(size=(50, 8)), 2, axis=0), k=1)
    assert found.robin_hood.value == found.antihubs.value == 0


def test_one_hub_takes_all():
    """Orthogonal rows, each nearest to the one row between them."""
    x = np.vstack([np.eye(20), np.ones(20)])
    found = hubness(x, k=1)
    assert found.antihubs.value == 19 / 21  # the hub itself chooses one of them
    assert found.robin_hood.value == pytest.approx((19 + 19) / (2 * 21))
    assert found.skewness.value > 4


def test_an_offset_in_many_dimensions_makes_hubs():
    random = np.random.default_rng(0)
    few, many = random.normal(size=(1000, 3)), random.normal(size=(1000, 100))
    assert hubness(few + 1).skewness.value < 0.5
    assert hubness(many).skewness.value < 0.5 < 2 < hubness(many + 1).skewness.value


def test_many_rows_are_cut_into_parts(monkeypatch):
    x, _ = classes(0, n=400)
    monkeypatch.setattr(estimate, "WHOLE", 300)
    monkeypatch.setattr(estimate, "PART", 100)
    parts = estimate.parts_of(400, seed=3)
    assert sorted(np.concatenate(parts)) == list(range(400))
    alone = [hubness(x[part]).robin_hood.value for part in parts]
    found = hubness(x, seed=3).robin_hood
    assert found.value == pytest.approx(np.mean(alone))
    assert found.error == pytest.approx(np.std(alone, ddof=1) / 2)


def test_too_few_rows_are_refused():
    with pytest.raises(InputError, match="features have 10 rows; at least 11 are needed"):
        hubness(np.eye(10))
    with pytest.raises(InputError, match="k is 0; expected k >= 1"):
        hubness(np.eye(10), k=0)
