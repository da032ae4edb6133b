"""Whether probabilities mean what they say, and the one number that mends them.

Shape letters: N images, C classes, B bins. Labels are class numbers from 0 to C-1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from lacvit.errors import InputError
from lacvit.metrics._checks import checked_features, checked_probabilities, checked_targets

Rows = NDArray[np.floating]
Ints = NDArray[np.integer]
Floats = NDArray[np.float64]

BINS = 15
COLDEST, HOTTEST = 0.05, 20.0
FEWEST_IMAGES = 20


def tempered(logits_NC: Rows, temperature: float = 1.0) -> NDArray[np.float32]:
    """Softmax of logits / T, float32 (N, C); its largest entry is the logits' for any T above 0.

    In float64 within, so that logits which differ in float32 stay in their order.
    """
    return softmax(np.asarray(logits_NC, dtype=np.float64) / temperature, axis=1).astype(np.float32)


@dataclass(frozen=True)
class Reliability:
    """Images binned by the probability of their prediction; arrays (B,), 0 in an empty bin."""

    edges: Floats
    """(B + 1,), equally wide; a bin holds its upper edge, the first one 0 as well."""
    counts: NDArray[np.int64]
    confidence: Floats
    """Mean probability of the predictions."""
    accuracy: Floats

    @property
    def expected_calibration_error(self) -> float:
        """``sum_b (n_b / N) |accuracy_b - confidence_b|``."""
        gap_B = np.abs(self.accuracy - self.confidence)
        return float(gap_B @ self.counts / self.counts.sum())


def reliability(probabilities_NC: Rows, labels_N: Ints, *, bins: int = BINS) -> Reliability:
    """The table behind a reliability diagram (Guo et al. 2017, arXiv 1706.04599).

    Raises:
        InputError: a row that is no distribution, labels that do not fit, bins below 1.
    """
    wide_NC = checked_probabilities(probabilities_NC)
    targets_N = checked_targets(labels_N, *wide_NC.shape)
    if bins < 1:
        raise InputError(f"bins is {bins}; expected at least 1.")
    edges = np.linspace(0, 1, bins + 1)
    top_N = wide_NC.max(axis=1)
    bin_N = np.searchsorted(edges[1:-1], top_N, side="left")
    counts_B = np.bincount(bin_N, minlength=bins)
    correct_N = (wide_NC.argmax(axis=1) == targets_N).astype(np.float64)
    divisor_B = np.maximum(counts_B, 1)
    return Reliability(
        edges=edges,
        counts=counts_B,
        confidence=np.bincount(bin_N, top_N, bins) / divisor_B,
        accuracy=np.bincount(bin_N, correct_N, bins) / divisor_B,
    )


def expected_calibration_error(
    probabilities_NC: Rows, labels_N: Ints, *, bins: int = BINS
) -> float:
    """ECE of the predicted class over 15 bins of equal width, 0 to 1 (Guo et al. 2017).

    ``sum_b (n_b / N) |accuracy_b - confidence_b|``. 0 for perfect calibration, in expectation a
    little above: each bin's noise counts, so small test sets raise it, and figures over other
    bins do not compare. Sharpness does not move it: always answering the base rate gives 0.

    Raises:
        InputError: a row that is no distribution, labels that do not fit, bins below 1.
    """
    return reliability(probabilities_NC, labels_N, bins=bins).expected_calibration_error


def brier_score(probabilities_NC: Rows, labels_N: Ints) -> float:
    """``mean_i sum_c (p_ic - [c = y_i])^2``, 0 (sure and right) to 2 (sure and wrong).

    Brier 1950, over all classes; two classes count twice the binary form. A proper score:
    calibration and sharpness move it. Equal probabilities give ``1 - 1 / C``.

    Raises:
        InputError: a row that is no distribution, labels that do not fit.
    """
    wide_NC = checked_probabilities(probabilities_NC)
    targets_N = checked_targets(labels_N, *wide_NC.shape)
    of_label_N = wide_NC[np.arange(len(targets_N)), targets_N]
    return float(((wide_NC**2).sum(axis=1) - 2 * of_label_N + 1).mean())


def log_loss(logits_NC: Rows, labels_N: Ints, *, temperature: float = 1.0) -> float:
    """Mean negative logarithm of the label's softmax probability, in nats, from logits / T.

    At least 0; equal logits give ``ln C``. One sure mistake can dominate it.

    Raises:
        InputError: a non-finite row, labels that do not fit, temperature not above 0.
    """
    wide_NC = checked_features(logits_NC, "logits", min_rows=1, zero_rows=True).astype(np.float64)
    targets_N = checked_targets(labels_N, *wide_NC.shape)
    if not temperature > 0:
        raise InputError(f"temperature is {temperature}; expected a number above 0.")
    wide_NC /= temperature
    of_label_N = wide_NC[np.arange(len(targets_N)), targets_N]
    return float((logsumexp(wide_NC, axis=1) - of_label_N).mean())


def fit_temperature(logits_NC: Rows, labels_N: Ints) -> float:
    """The T that minimises `log_loss` of logits / T: temperature scaling (Guo et al. 2017).

    The loss is convex in 1 / T, so its derivative, ``mean sum_c p_c z_c - mean z_label``, has at
    most one root, found by bracketing. Fit it on validation images, never on training ones, on
    which a trained head is too sure. It moves no prediction: accuracy stays. Above 1 the logits
    were overconfident.

    Returns:
        0.05 to 20; an end where the loss still falls there: every image right (the end 0.05), or
        logits that say nothing of the label (20). Equal logits in every row: 1.

    Raises:
        InputError: a non-finite row, labels that do not fit.
    """
    wide_NC = checked_features(logits_NC, "logits", min_rows=1, zero_rows=True).astype(np.float64)
    targets_N = checked_targets(labels_N, *wide_NC.shape)
    wide_NC -= wide_NC[np.arange(len(targets_N)), targets_N][:, None]  # the label's logit is 0
    if not np.ptp(wide_NC, axis=1).any():
        return 1.0

    def slope(log_sharpness: float) -> float:
        share_NC = softmax(wide_NC * np.exp(log_sharpness), axis=1)
        return float((share_NC * wide_NC).sum(axis=1).mean())

    from scipy.optimize import brentq  # a sixth of what `lacvit predict` would import

    hot, cold = -np.log(HOTTEST), -np.log(COLDEST)
    if slope(hot) >= 0:
        return HOTTEST
    if slope(cold) <= 0:
        return COLDEST
    return float(np.exp(-brentq(slope, hot, cold, xtol=1e-10)))


def chosen_temperature(logits_NC: Rows, labels_N: Ints) -> float:
    """`fit_temperature` where the images can tell, else 1.

    They cannot where there are fewer than 20, or where the loss has no minimum between the ends:
    every image right would make the classifier all but certain of everything.

    Raises:
        InputError: as `fit_temperature`.
    """
    if len(labels_N) < FEWEST_IMAGES:
        return 1.0
    temperature = fit_temperature(logits_NC, labels_N)
    return temperature if COLDEST < temperature < HOTTEST else 1.0
