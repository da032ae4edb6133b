"""Bootstrap and t: what `lacvit.metrics.significance` makes its intervals and p-values of.

A bootstrap of few images knows nothing of what none of them showed: 20 images on which two methods
agree would give an interval from 0 to 0. So it also draws from two made-up images, one that method
a alone labels rightly and one that b alone does, N + 2 in all (Bonett and Price 2012, "Adjusted
Wald confidence interval for a difference of binomial proportions based on paired data", after
Agresti and Min 2005). What this moves fades as 1 / N: 0.02 points at most at 10,000.

Shape letters: S seeds, N test images, M made-up ones, P patterns of one image over the seeds,
B resamples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lacvit.errors import InputError

Floats = NDArray[np.float64]
Range = tuple[float, float]

LEVEL = 0.95
POWER = 0.8
AT_ONCE = 500  # resamples that are held: each has a count for every pattern
RIGHT_AND_WRONG = (1.0, 0.0)  # the made-up images of an accuracy


def one_for_each(difference_SN: Floats) -> tuple[float, float]:
    """The made-up images of a difference: one for either side, over the seeds.

    Their source knows one seed, where they are 1 and -1. Of more seeds they keep as much as the
    seeds agree on: an image's squared mean over its mean square, the made-up two counted as agreed
    on. So they weigh in full where nothing is known, and little among images that chance decides.
    """
    agreed = (difference_SN.mean(axis=0) ** 2).sum()
    alike = float(np.sqrt((agreed + 2) / ((difference_SN**2).mean(axis=0).sum() + 2)))
    return alike, -alike


def bootstrap(
    answers_SN: Floats, made_up: Sequence[float], resamples: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Means over resampled images, and over resampled images and seeds.

    Each of ``made_up`` is the answer, under every seed, to one more image. Images with the same
    column are interchangeable, so what is drawn is how often each of the P different columns comes:
    exact, and P is at most 3^S + 2.
    """
    seeds = len(answers_SN)
    more_SM = np.tile(np.asarray(made_up), (seeds, 1))
    all_SN = np.concatenate([answers_SN, more_SM], axis=1)
    images = all_SN.shape[1]
    pattern_SP, count_P = np.unique(all_SN, axis=1, return_counts=True)
    by_seed_BS = np.empty((resamples, seeds))
    for start in range(0, resamples, AT_ONCE):
        block_BS = by_seed_BS[start : start + AT_ONCE]
        drawn_BP = rng.multinomial(images, count_P / images, size=len(block_BS))
        block_BS[:] = drawn_BP @ pattern_SP.T / images
    weight_BS = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    return by_seed_BS.mean(axis=1), (by_seed_BS * weight_BS).sum(axis=1)


def percentiles(draws: Floats, level: float) -> Range:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def negated(ends: Range) -> Range:
    return 0.0 - ends[1], 0.0 - ends[0]  # and no -0.0


def draws_p(draws: Floats) -> float:
    """Two-sided: twice the share of the draws on the rarer side of 0, the estimate counted in.

    Where none is there, the tail of a normal with the draws' mean and spread, if that is less: so
    many draws alone could not tell a p below 2 / (B + 1), which Holm over hundreds of pairs would
    raise above any level whatever the data say.
    """
    rarer = int(min((draws <= 0).sum(), (draws >= 0).sum()))
    counted = min(1.0, 2 * (rarer + 1) / (len(draws) + 1))
    spread = float(draws.std())
    if rarer or spread == 0:
        return counted
    return min(counted, float(2 * stats.norm.sf(abs(float(draws.mean())) / spread)))


def t_error(sample: Floats, overlap: float) -> float:
    return float(sample.std(ddof=1) * np.sqrt(1 / len(sample) + overlap))


def t_interval(sample: Floats, level: float, overlap: float = 0.0) -> Range:
    half = float(stats.t.ppf((1 + level) / 2, len(sample) - 1)) * t_error(sample, overlap)
    mean = float(sample.mean())
    return max(mean - half, -1.0), min(mean + half, 1.0)


def t_p(sample: Floats, overlap: float = 0.0) -> float:
    error = t_error(sample, overlap)
    if error == 0:  # every seed the same
        return 1.0 if sample.mean() == 0 else 0.0
    return float(2 * stats.t.sf(abs(sample.mean()) / error, len(sample) - 1))


def detectable_difference(sample: Floats, bootstrap_error: float, overlap: float = 0.0) -> float:
    """(quantile of the level + quantile of the power) standard errors, by the worse of the two.

    At most 1, which no difference exceeds.
    """
    normal = float(stats.norm.ppf((1 + LEVEL) / 2) + stats.norm.ppf(POWER)) * bootstrap_error
    if len(sample) < 2:
        return min(normal, 1.0)
    freedom = len(sample) - 1
    quantiles = float(stats.t.ppf((1 + LEVEL) / 2, freedom) + stats.t.ppf(POWER, freedom))
    return min(max(normal, quantiles * t_error(sample, overlap)), 1.0)


def wider(choices: dict[str, Range]) -> tuple[Range, str]:
    name = max(choices, key=lambda key: choices[key][1] - choices[key][0])
    return choices[name], name


def by_fold(
    values_RN: Floats, fold_RN: NDArray[np.integer], overlap: float | None
) -> tuple[Floats, float]:
    """The mean of every fold of every repeat, (J,), and ``n_test / n_train``."""
    folds = int(fold_RN.max()) + 1
    if fold_RN.shape != values_RN.shape or folds < 2:
        raise InputError(
            f"folds have shape {fold_RN.shape} and {folds} fold; expected {values_RN.shape} "
            "with at least 2 folds."
        )
    rows = zip(values_RN, fold_RN, strict=True)
    by_fold_J = np.array([row[fold == k].mean() for row, fold in rows for k in range(folds)])
    return by_fold_J, 1 / (folds - 1) if overlap is None else overlap
