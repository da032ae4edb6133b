import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from lacvit.errors import InputError
from lacvit.metrics.dimension import intrinsic_dimension


def embedded(n, inner, outer, seed=0):
    """A Gaussian of few dimensions, turned in a space of many."""
    random = np.random.default_rng(seed)
    basis = np.linalg.qr(random.normal(size=(outer, inner)))[0]
    return random.normal(size=(n, inner)) @ basis.T


@pytest.mark.parametrize("inner", [1, 2, 5])
def test_known_dimensions(inner):
    found = intrinsic_dimension(embedded(2000, inner, 30))
    assert found.mle.value == pytest.approx(inner, rel=0.05)
    assert found.two_nn.value == pytest.approx(inner, rel=0.08)


def test_both_equal_their_formulas():
    x = embedded(500, 4, 9, seed=1)
    radius = NearestNeighbors(n_neighbors=6, algorithm="brute").fit(x).kneighbors()[0]
    found = intrinsic_dimension(x, k=6)
    inverse = np.log(radius[:, 5:] / radius[:, :5]).sum(axis=1) / 5
    assert found.mle.value == pytest.approx(1 / inverse.mean())
    ratio = np.sort(radius[:, 1] / radius[:, 0])[:450]
    level = -np.log(1 - np.arange(1, 451) / 500)
    slope = np.linalg.lstsq(np.log(ratio)[:, None], level, rcond=None)[0]
    assert found.two_nn.value == pytest.approx(slope[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_neighbours_far_from_the_origin_are_told_apart(dtype):
    near = embedded(800, 3, 5).astype(dtype)
    far = (near + np.float32(100)).astype(dtype)
    assert intrinsic_dimension(far).mle.value == pytest.approx(
        intrinsic_dimension(near).mle.value, rel=1e-3
    )


def test_copies_count_once():
    x = embedded(300, 3, 6)
    found = intrinsic_dimension(np.vstack([x, x, x[:50]]))
    assert found.mle.value == pytest.approx(intrinsic_dimension(x).mle.value)


def test_too_few_different_rows_have_no_dimension():
    found = intrinsic_dimension(np.repeat(np.eye(4), 30, axis=0))
    assert np.isnan([found.mle.value, found.two_nn.value]).all()
    equal = intrinsic_dimension(np.eye(40))
    assert np.isnan([equal.mle.value, equal.two_nn.value]).all()


def test_faults_are_named():
    with pytest.raises(InputError, match="k is 2; expected k >= 3"):
        intrinsic_dimension(np.eye(40), k=2)
    with pytest.raises(InputError, match="features have 20 rows; at least 21 are needed"):
        intrinsic_dimension(np.eye(20))
