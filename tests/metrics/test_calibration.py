import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn import metrics

from lacvit.errors import InputError
from lacvit.metrics.calibration import (
    FEWEST_IMAGES,
    brier_score,
    chosen_temperature,
    expected_calibration_error,
    fit_temperature,
    log_loss,
    reliability,
    tempered,
)


def drawn(seed, n=400, c=5, sharpness=2.0):
    """Logits, and labels drawn from their own softmax: perfectly calibrated at T = 1."""
    random = np.random.default_rng(seed)
    logits = sharpness * random.normal(size=(n, c))
    shares = softmax(logits, axis=1).cumsum(axis=1)
    return logits, (random.random((n, 1)) > shares).sum(axis=1)


def test_a_worked_reliability_table():
    probabilities = np.array([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8], [1.0, 0.0]])
    labels = np.array([0, 0, 1, 0])
    found = reliability(probabilities, labels, bins=5)
    np.testing.assert_allclose(found.edges, [0, 0.2, 0.4, 0.6, 0.8, 1])
    np.testing.assert_array_equal(found.counts, [0, 0, 0, 2, 2])  # 0.8 belongs to (0.6, 0.8]
    np.testing.assert_allclose(found.confidence, [0, 0, 0, 0.75, 0.95])
    np.testing.assert_allclose(found.accuracy, [0, 0, 0, 0.5, 1])
    error = expected_calibration_error(probabilities, labels, bins=5)
    assert error == pytest.approx(0.5 * 0.25 + 0.5 * 0.05)


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_ece_equals_a_loop_over_bins(bins):
    logits, labels = drawn(0)
    probabilities = softmax(2 * logits, axis=1)
    top, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    expected = 0.0
    for b in range(bins):
        inside = (top > b / bins) & (top <= (b + 1) / bins)
        if inside.any():
            expected += inside.mean() * abs(top[inside].mean() - right[inside].mean())
    assert expected_calibration_error(probabilities, labels, bins=bins) == pytest.approx(expected)


def test_ends_of_the_scales():
    sure = np.eye(4)[[0, 1, 2, 3]]
    right, wrong = np.arange(4), (np.arange(4) + 1) % 4
    assert expected_calibration_error(sure, right) == brier_score(sure, right) == 0
    assert expected_calibration_error(sure, wrong) == 1
    assert brier_score(sure, wrong) == 2
    even = np.full((4, 4), 0.25)
    assert expected_calibration_error(even, right) == pytest.approx(0)
    assert brier_score(even, right) == pytest.approx(1 - 1 / 4)
    assert log_loss(np.zeros((4, 4)), right) == pytest.approx(np.log(4))


@pytest.mark.parametrize("seed", range(2))
def test_scores_equal_scikit_learn(seed):
    logits, labels = drawn(seed)
    probabilities = softmax(logits / 1.7, axis=1)
    names = np.arange(5)
    one_hot = np.eye(5)[labels]
    assert log_loss(logits, labels, temperature=1.7) == pytest.approx(
        metrics.log_loss(labels, probabilities, labels=names)
    )
    assert brier_score(probabilities, labels) == pytest.approx(
        ((probabilities - one_hot) ** 2).sum(axis=1).mean()
    )
    binary = np.column_stack([1 - probabilities[:, 0], probabilities[:, 0]])
    assert brier_score(binary, (labels == 0).astype(int)) == pytest.approx(
        2 * metrics.brier_score_loss(labels == 0, probabilities[:, 0])
    )


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_the_temperature_undoes_a_factor(factor):
    logits, labels = drawn(1, n=4000)
    found = fit_temperature(factor * logits, labels)
    assert found == pytest.approx(factor, rel=0.1)
    assert found == pytest.approx(factor * fit_temperature(logits, labels), rel=1e-6)
    assert log_loss(factor * logits, labels, temperature=found) <= log_loss(factor * logits, labels)


def test_the_temperature_is_the_minimum():
    logits, labels = drawn(2)
    best = minimize_scalar(
        lambda t: log_loss(logits + 50, labels, temperature=t), bounds=(0.1, 10), method="bounded",
        options={"xatol": 1e-9},
    )  # fmt: skip
    assert fit_temperature(logits + 50, labels) == pytest.approx(best.x, rel=1e-5)


def test_a_temperature_that_has_no_end():
    logits, labels = drawn(3)
    assert fit_temperature(np.eye(3), np.arange(3)) == 0.05
    assert fit_temperature(-np.eye(3), np.arange(3)) == 20
    assert fit_temperature(np.zeros_like(logits), labels) == 1


def test_the_temperature_stays_1_where_the_images_cannot_tell():
    logits, labels = drawn(4, n=200)
    assert chosen_temperature(3 * logits, labels) == fit_temperature(3 * logits, labels) > 2
    assert fit_temperature(3 * logits[: FEWEST_IMAGES - 1], labels[: FEWEST_IMAGES - 1]) != 1
    assert chosen_temperature(3 * logits[: FEWEST_IMAGES - 1], labels[: FEWEST_IMAGES - 1]) == 1
    assert chosen_temperature(logits, logits.argmax(axis=1)) == 1  # all right: no minimum
    assert chosen_temperature(-9 * logits, logits.argmax(axis=1)) == 1


@pytest.mark.parametrize("temperature", [0.05, 1.0, 20.0])
def test_no_temperature_changes_the_largest_entry(temperature):
    logits = np.float32([[10, np.nextafter(np.float32(10), np.float32(11)), 0], [3, 2, 1]])
    found = tempered(logits, temperature)
    assert found.dtype == np.float32
    wide = softmax(logits.astype(float) / temperature, 1)
    np.testing.assert_allclose(found, wide, rtol=1e-6, atol=1e-30)
    assert found[1].argmax() == 0
    assert found[0].max() == found[0, 1]


EVEN, LABELS = np.full((2, 2), 0.5), np.array([0, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: brier_score(EVEN * 1.1, LABELS), "row 0 of 2 is no distribution over the classes"),
        (lambda: brier_score(EVEN - [1, -1], LABELS), "is no distribution"),
        (lambda: brier_score(EVEN, LABELS + 1), "label 1 is 2; allowed: 0 to 1"),
        (lambda: brier_score(EVEN, LABELS / 2), "float64; expected .* class numbers"),
        (lambda: reliability(EVEN, LABELS, bins=0), "bins is 0; expected at least 1"),
        (lambda: log_loss(EVEN, LABELS, temperature=0), "temperature is 0; expected .* above 0"),
        (lambda: fit_temperature(EVEN * np.nan, LABELS), "logits: row 0 of 2 is not finite"),
    ],
)
def test_faults_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
