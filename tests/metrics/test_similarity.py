import numpy as np
import pytest

from lacvit.errors import InputError
from lacvit.metrics.similarity import linear_cka


def pair(seed, n=40, d=6, e=9):
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, d)) + 2
    return x, x @ random.normal(size=(d, e)) + 3 * random.normal(size=(n, e))


def plain(x, y):
    """From the N x N kernels, centred on both sides."""
    centre = np.eye(len(x)) - 1 / len(x)
    k, l = centre @ x @ x.T @ centre, centre @ y @ y.T @ centre  # noqa: E741
    return (k * l).sum() / np.sqrt((k * k).sum() * (l * l).sum())


def unbiased_hsic(k, l):  # noqa: E741
    """Song et al. 2012, equation 5, on kernels without their diagonals."""
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    one = np.ones(n)
    total = np.trace(k @ l) + (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    return (total - 2 / (n - 2) * one @ k @ l @ one) / (n * (n - 3))


@pytest.mark.parametrize("d", [6, 60])
@pytest.mark.parametrize("seed", range(3))
def test_both_forms_equal_the_kernels(seed, d):
    x, y = pair(seed, d=d)
    assert linear_cka(x, y) == pytest.approx(plain(x, y))
    k, l = x @ x.T, y @ y.T  # noqa: E741
    norm = np.sqrt(unbiased_hsic(k, k) * unbiased_hsic(l, l))
    assert linear_cka(x, y, debiased=True) == pytest.approx(unbiased_hsic(k, l) / norm)


@pytest.mark.parametrize("debiased", [False, True])
def test_the_same_space_and_order_of_arguments(debiased):
    x, y = pair(0)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    assert linear_cka(x, 7 * x @ rotation - 5, debiased=debiased) == pytest.approx(1)
    forth, back = linear_cka(x, y, debiased=debiased), linear_cka(y, x, debiased=debiased)
    assert forth == pytest.approx(back)


def test_kept_directions():
    x = np.linalg.qr(np.random.default_rng(0).normal(size=(50, 11)))[0]
    x = np.linalg.qr(np.hstack([np.ones((50, 1)), x]))[0][:, 1:]  # centred, equal, orthogonal
    assert linear_cka(x, x[:, :4]) == pytest.approx(np.sqrt(4 / 11))


def test_unrelated_gaussians():
    random = np.random.default_rng(0)
    found = [
        (linear_cka(x, y), linear_cka(x, y, debiased=True))
        for x, y in (random.normal(size=(2, 100, 13)) for _ in range(30))
    ]
    plain_mean, debiased_mean = np.mean(found, axis=0)
    assert plain_mean == pytest.approx(13 / 113, rel=0.05)
    error = np.std([debiased for _, debiased in found]) / np.sqrt(30)
    assert abs(debiased_mean) < 4 * error


def test_a_constant_embedding_is_like_nothing():
    x, _ = pair(0)
    for debiased in (False, True):
        assert np.isnan(linear_cka(x, np.full((40, 3), 0.1), debiased=debiased))


def test_rows_have_to_pair():
    x, y = pair(0)
    with pytest.raises(InputError, match="features have 40 rows and reference features 39"):
        linear_cka(x, y[:-1])
    with pytest.raises(InputError, match="features have 3 rows; at least 4 are needed"):
        linear_cka(x[:3], y[:3], debiased=True)
