import numpy as np
import pytest
import torch
from clouds import classes, clouds, simplex
from hypothesis import given, settings
from hypothesis import strategies as st
from IsoScore import IsoScore

from lacvit.errors import InputError
from lacvit.metrics.cone import mean_cosine
from lacvit.metrics.spectrum import (
    effective_rank,
    iso_score,
    iso_score_star,
    participation_ratio,
    rank_me,
)

FEW = settings(max_examples=25)


def published_iso_score(covariance):
    """The steps of Rudman et al. 2022, algorithm 1, with eigenvalues."""
    d = len(covariance)
    spectrum = np.linalg.eigvalsh(covariance).clip(min=0)
    spectrum = np.sqrt(d) * spectrum / np.linalg.norm(spectrum)
    defect = np.linalg.norm(spectrum - 1) / np.sqrt(2 * (d - np.sqrt(d)))
    return ((d - defect**2 * (d - np.sqrt(d))) ** 2 - d) / (d * (d - 1))


def pooled(x, labels):
    """Covariance about the class means."""
    means = {name: x[labels == name].mean(axis=0) for name in np.unique(labels)}
    return np.cov(x - [means[name] for name in labels], rowvar=False)


@FEW
@given(clouds())
def test_iso_score_equals_its_published_steps(x):
    expected = published_iso_score(np.cov(x, rowvar=False))
    assert iso_score(x) == pytest.approx(expected, abs=1e-9)


@FEW
@given(clouds(), st.floats(0, 1))
def test_iso_scores_equal_those_of_the_authors_package(x, shrinkage):
    assert iso_score(x) == pytest.approx(float(IsoScore.IsoScore(x)), abs=2e-7)
    pool = np.cov(x[::2], rowvar=False)
    expected = IsoScore.IsoScore_star(x, torch.tensor(pool), shrinkage)
    found = iso_score_star(x, shrinkage=shrinkage, target_DD=pool)
    assert found == pytest.approx(float(expected), abs=2e-7)  # it takes roots in float32


@FEW
@given(clouds(), st.booleans())
def test_effective_rank_equals_the_singular_values(x, centre):
    singular = np.linalg.svd(x - x.mean(axis=0) if centre else x, compute_uv=False)
    share = singular[singular > 1e-12 * singular[0]] / singular.sum()
    expected = np.exp(-(share * np.log(share)).sum())
    # singular values below 1e-8 of the largest are lost: each is worth 1e-8 ln(1e8) of entropy
    assert effective_rank(x, centre=centre) == pytest.approx(expected, rel=1e-6)


@FEW
@given(clouds())
def test_rank_me_equals_the_singular_values(x):
    singular = np.linalg.svd(x, compute_uv=False)
    share = singular / singular.sum() + 1e-7
    assert rank_me(x) == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-6)


@FEW
@given(clouds())
def test_bounds_and_order(x):
    n, d = x.shape
    ratio, rank = participation_ratio(x), effective_rank(x)
    assert 1 - 1e-9 <= ratio <= rank + 1e-9
    assert rank <= min(n - 1, d) + 1e-9
    assert effective_rank(x, centre=False) <= min(n, d) + 1e-9
    assert 0 <= iso_score(x) <= (min(n - 1, d) - 1) / (d - 1) + 1e-9
    for centre in (False, True):
        assert -1 / (n - 1) - 1e-9 <= mean_cosine(x, centre=centre) <= 1 + 1e-9


@pytest.mark.parametrize("d", [6, 150])
def test_within_classes_their_means_are_removed(d):
    x, labels = classes(0, d=d)
    assert iso_score(x, labels) == pytest.approx(published_iso_score(pooled(x, labels)))
    assert participation_ratio(x, labels) == pytest.approx(
        np.trace(pooled(x, labels)) ** 2 / (pooled(x, labels) ** 2).sum()
    )
    assert iso_score(x, np.zeros(len(x))) == pytest.approx(iso_score(x))


def test_an_isotropic_gaussian_uses_every_direction():
    x = np.random.default_rng(4).normal(size=(20_000, 16))
    for rank in (participation_ratio(x), effective_rank(x), rank_me(x)):
        assert rank == pytest.approx(16, rel=0.01)
    assert iso_score(x) == pytest.approx(1, abs=0.01)


def test_one_direction_counts_as_one():
    rng = np.random.default_rng(5)
    x = np.outer(rng.normal(size=200), rng.normal(size=16))
    for rank in (participation_ratio(x), effective_rank(x), rank_me(x)):
        assert rank == pytest.approx(1, rel=1e-4)
    assert iso_score(x) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_a_collapsed_simplex(n_classes):
    x = simplex(n_classes, per_class=6, d=16)
    labels = np.repeat(np.arange(n_classes), 6)
    assert effective_rank(x) == pytest.approx(n_classes - 1, rel=1e-6)
    assert participation_ratio(x) == pytest.approx(n_classes - 1)
    assert iso_score(x) == pytest.approx((n_classes - 2) / 15)
    assert iso_score(x + 0.1, labels) == participation_ratio(x + 0.1, labels) == 0


def test_equal_directions_are_counted():
    x = np.vstack([np.eye(5, 9), -np.eye(5, 9)])
    for count in (effective_rank, rank_me, participation_ratio):
        assert count(x) == pytest.approx(5, rel=1e-4)
    assert iso_score(x) == pytest.approx(4 / 8)


@pytest.mark.parametrize("d", [6, 150])
@pytest.mark.parametrize("shrinkage", [0.0, 0.25, 1.0])
def test_iso_score_star_shrinks_the_covariance(shrinkage, d):
    x, _ = classes(0, d=d)
    covariance = np.cov(x, rowvar=False)
    round_target = np.eye(d) * np.trace(covariance) / d
    for target in (None, np.cov(classes(1, d=d)[0], rowvar=False)):
        to = round_target if target is None else target
        expected = published_iso_score((1 - shrinkage) * covariance + shrinkage * to)
        found = iso_score_star(x, shrinkage=shrinkage, target_DD=target)
        assert found == pytest.approx(expected, abs=1e-9)
    if shrinkage == 0:
        assert iso_score_star(x, shrinkage=0) == pytest.approx(iso_score(x))


@pytest.mark.parametrize("value", [0.0, 0.1, -1e30, 1e-30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_identical_rows_have_rank_zero(value, dtype):
    x = np.full((1000, 7), value, dtype=dtype)
    labels = np.arange(1000) % 3
    assert effective_rank(x) == participation_ratio(x) == iso_score(x) == 0.0
    assert iso_score(x, labels) == iso_score_star(x, shrinkage=0.5) == 0.0
    if value:
        assert mean_cosine(x) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: iso_score(np.ones((3, 1))), "IsoScore needs at least 2"),
        (lambda: iso_score_star(np.eye(3), shrinkage=1.5), "shrinkage is 1.5; .* from 0 to 1"),
        (
            lambda: iso_score_star(np.eye(3), shrinkage=0.5, target_DD=np.eye(2)),
            r"target has shape \(2, 2\); expected \(3, 3\)",
        ),
    ],
)
def test_faults_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
