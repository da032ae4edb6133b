import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from lacvit.errors import InputError
from lacvit.metrics.classification import (
    accuracy,
    confusion_matrix,
    macro_f1,
    per_class,
    wilson_interval,
)

# Classes 0 to 4: always right; half found; a false alarm; predicted without images; neither.
LABELS = np.array([0, 0, 1, 1, 2])
PREDICTIONS = np.array([0, 0, 1, 2, 3])


def test_a_worked_example():
    assert accuracy(LABELS, PREDICTIONS) == 3 / 5
    scores = per_class(LABELS, PREDICTIONS, 5)
    np.testing.assert_allclose(scores.precision, [1, 1, 0, 0, 0])
    np.testing.assert_allclose(scores.recall, [1, 1 / 2, 0, 0, 0])
    np.testing.assert_allclose(scores.f1, [1, 2 / 3, 0, 0, 0])
    np.testing.assert_array_equal(scores.support, [2, 2, 1, 0, 0])
    assert macro_f1(LABELS, PREDICTIONS) == pytest.approx((1 + 2 / 3) / 4)  # class 4 is in neither
    np.testing.assert_array_equal(
        confusion_matrix(LABELS, PREDICTIONS, 5),
        [[2, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]],
    )


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60))
def test_all_scores_follow_from_the_confusion_matrix(pairs):
    labels, predictions = np.array(pairs).T
    counts = confusion_matrix(labels, predictions, 7)
    scores = per_class(labels, predictions, 7)
    true, actual, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    assert counts.sum() == len(labels)
    assert accuracy(labels, predictions) == pytest.approx(true.sum() / len(labels))
    np.testing.assert_allclose(scores.precision, true / np.maximum(predicted, 1))
    np.testing.assert_allclose(scores.recall, true / np.maximum(actual, 1))
    np.testing.assert_allclose(scores.f1, 2 * true / np.maximum(actual + predicted, 1))
    np.testing.assert_array_equal(scores.support, actual)
    occurs = actual + predicted > 0
    assert macro_f1(labels, predictions) == pytest.approx(scores.f1[occurs].mean())


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize(("correct", "total"), [(0, 7), (7, 7), (1, 1), (90, 100), (9000, 10_000)])
def test_wilson_ends_are_z_standard_errors_from_the_share(correct, total, level):
    """The interval's definition: the error is the end's own, not the estimate's."""
    z = stats.norm.ppf((1 + level) / 2)
    for end in wilson_interval(correct, total, level):
        standard_error = np.sqrt(max(end * (1 - end), 0) / total)
        assert abs(correct / total - end) == pytest.approx(z * standard_error, abs=1e-12)


@pytest.mark.parametrize(("correct", "total"), [(90, 100), (0, 7), (7, 7), (1, 10_000), (3, 8)])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_wilson_is_statsmodels(correct, total, level):
    expected = proportion_confint(correct, total, alpha=1 - level, method="wilson")
    assert wilson_interval(correct, total, level) == pytest.approx(expected)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_mirrors(counts):
    correct, total = counts
    low, high = wilson_interval(correct, total)
    assert -1e-12 <= low <= correct / total + 1e-12
    assert correct / total - 1e-12 <= high <= 1 + 1e-12
    assert wilson_interval(total - correct, total) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: accuracy(np.array([]), np.array([])), "at least one image"),
        (lambda: macro_f1(np.zeros(3, int), np.zeros(2, int)), r"shape \(3,\) .* \(2,\)"),
        (lambda: per_class(LABELS, PREDICTIONS, 3), "prediction 4 is 3; allowed: 0 to 2"),
        (lambda: confusion_matrix(np.array([0, -1]), np.array([0, 0]), 3), "label 1 is -1"),
        (lambda: wilson_interval(0, 0), "0 correct of 0: expected at least 1 image"),
        (lambda: wilson_interval(5, 4), "5 correct of 4: expected .* 0 to 4 correct"),
        (lambda: wilson_interval(1, 4, 95), "level is 95; expected a number between 0 and 1"),
    ],
)
def test_faults_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
