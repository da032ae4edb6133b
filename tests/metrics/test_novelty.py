import numpy as np
import pytest
from clouds import unit
from sklearn.metrics import roc_auc_score

from lacvit.errors import InputError
from lacvit.metrics.novelty import neighbour_familiarity, novelty_auroc, top_probability


@pytest.mark.parametrize("step", [0, 0.5])
def test_auroc_equals_scikit_learn(step):
    random = np.random.default_rng(0)
    known, unknown = random.normal(1, size=70), random.normal(size=40)
    if step:  # ties
        known, unknown = np.round(known / step), np.round(unknown / step)
    expected = roc_auc_score(np.repeat([1, 0], [70, 40]), np.concatenate([known, unknown]))
    assert novelty_auroc(known, unknown) == pytest.approx(expected)
    assert novelty_auroc(unknown, known) == pytest.approx(1 - expected)


def test_auroc_ends():
    assert novelty_auroc(np.array([2.0, 3.0]), np.array([1.0])) == 1
    assert novelty_auroc(np.ones(3), np.ones(5)) == 0.5


def test_top_probability():
    rows = np.array([[0.2, 0.5, 0.3], [1, 0, 0]])
    assert top_probability(rows).tolist() == [0.5, 1]


def test_neighbour_familiarity_is_the_cosine_with_the_kth():
    random = np.random.default_rng(0)
    train, x = random.normal(size=(60, 5)), random.normal(size=(20, 5))
    cosines = np.sort(unit(x) @ unit(train).T, axis=1)
    np.testing.assert_allclose(neighbour_familiarity(train, x, k=7), cosines[:, -7])
    np.testing.assert_allclose(neighbour_familiarity(train, x, k=99), cosines[:, 0])


def test_images_elsewhere_are_unfamiliar():
    random = np.random.default_rng(0)
    train, known = 5 + random.normal(size=(2, 200, 8))
    unknown = random.normal(size=(50, 8)) + 5 * np.array([1, -1] * 4)
    scores = (neighbour_familiarity(train, x) for x in (known, unknown))
    assert novelty_auroc(*scores) > 0.99


@pytest.mark.parametrize("faulty", [np.array([]), np.ones((2, 2)), np.array([1.0, np.nan])])
def test_scores_are_one_finite_number_an_image(faulty):
    with pytest.raises(
        InputError, match=r"unknown scores have shape .* one finite number an image"
    ):
        novelty_auroc(np.ones(2), faulty)
