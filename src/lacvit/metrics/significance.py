"""Which of two methods is better, and how sure that is: paired by test image and by seed.

Two things vary: the test images that happened to be at hand, and the training run (shots, order,
weights, views), which the seed draws. An interval that sees one alone is too short, so the default
is the wider of one that sees both (`two_way`) and one that trusts the seeds alone (`paired_t`).

Shape letters: S seeds, N test images. All figures are shares of the test images (0.01 is one
point) and differences are a minus b.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lacvit.errors import InputError
from lacvit.metrics._intervals import (
    LEVEL,
    RIGHT_AND_WRONG,
    Floats,
    Range,
    bootstrap,
    by_fold,
    detectable_difference,
    draws_p,
    negated,
    one_for_each,
    percentiles,
    t_interval,
    t_p,
    wider,
)

Bools = NDArray[np.bool_]

RESAMPLES = 10_000
MARGIN = 0.01  # a difference within one point is called equal
_ONE_SEED = "images alone: one run each, training was not measured"


@dataclass(frozen=True)
class PairedDifference:
    """The accuracy of method a less that of method b, and what is known of it."""

    difference: float
    interval: Range
    """The reported 95 % interval: the wider of two, of which `basis` names the one."""
    basis: str
    image_bootstrap: Range
    """Resamples the images alone: these trained models, other images of the same kind."""
    two_way: Range | None
    paired_t: Range | None
    corrected_t: Range | None  # over folds, instead of the two above
    p_value: float
    mcnemar: tuple[float, ...]
    """Exact p a seed. About those two trained models only, not about the methods."""
    seeds_won: float
    """Seeds in which a is ahead; a tie counts one half."""
    seeds_tied: int
    seeds: int
    images: int
    equivalent: bool
    """Whether the 90 % interval lies within the margin (two one-sided tests at 5 %), and the images
    are so many that a difference of the margin would have shown on one of them (95 %)."""
    detectable: float
    """The smallest difference that this design finds with 80 % power; 1 where it finds none."""

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, ``equal`` (within the margin) or ``unsettled``."""
        if self.equivalent:
            return "equal"
        if self.interval[0] > 0:
            return "better"
        return "worse" if self.interval[1] < 0 else "unsettled"

    def mirrored(self) -> PairedDifference:
        """The same of b less a."""
        return replace(
            self,
            difference=0.0 - self.difference,
            interval=negated(self.interval),
            image_bootstrap=negated(self.image_bootstrap),
            two_way=self.two_way and negated(self.two_way),
            paired_t=self.paired_t and negated(self.paired_t),
            corrected_t=self.corrected_t and negated(self.corrected_t),
            seeds_won=self.seeds - self.seeds_won,
        )


def paired_difference(
    correct_a_SN: Bools,
    correct_b_SN: Bools,
    *,
    margin: float = MARGIN,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PairedDifference:
    """Compare two methods that were trained under the same S seeds and met the same N images.

    The two-way bootstrap draws seeds and, independently, images, with replacement (Owen 2007,
    "The pigeonhole bootstrap"), and takes percentiles of the mean difference. Two images are made
    up, one for either side, so that few images that agree do not settle it (Bonett and Price 2012;
    `lacvit.metrics._intervals` says how). The bootstrap counts what is
    due to neither seeds nor images three times: where the seeds of a method differ in nothing but
    chance answers it covers 99 % and more. The paired t takes the S differences as its sample, and
    nothing is added to it: it speaks of these images. No interval goes beyond -1 and 1.
    Under one seed only the images can be resampled, and `basis` says that training was not
    measured.

    Args:
        correct_a_SN: whether method a labelled image n rightly under seed s.
        correct_b_SN: the same of method b, in the same order of seeds and images.
        margin: methods closer than this count as equal.
        resamples: of each bootstrap.
        seed: draws the resamples; the same seed gives the same figures.

    Raises:
        InputError: shapes that differ or are not (S, N) with S and N at least 1.
    """
    difference_SN = _difference(correct_a_SN, correct_b_SN)
    by_seed_S = difference_SN.mean(axis=1)
    of_images, of_both = bootstrap(
        difference_SN, one_for_each(difference_SN), resamples, np.random.default_rng(seed)
    )
    if len(by_seed_S) == 1:
        return _judged(
            correct_a_SN,
            correct_b_SN,
            lambda level: {_ONE_SEED: percentiles(of_images, level)},
            of_images,
            p_value=draws_p(of_images),
            detectable=detectable_difference(by_seed_S, float(of_images.std())),
            margin=margin,
        )
    return _judged(
        correct_a_SN,
        correct_b_SN,
        lambda level: {
            "two_way": percentiles(of_both, level),
            "paired_t": t_interval(by_seed_S, level),
        },
        of_images,
        p_value=max(draws_p(of_both), t_p(by_seed_S)),
        detectable=detectable_difference(by_seed_S, float(of_both.std())),
        margin=margin,
    )


def fold_difference(
    correct_a_RN: Bools,
    correct_b_RN: Bools,
    fold_RN: NDArray[np.integer],
    *,
    overlap: float | None = None,
    margin: float = MARGIN,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PairedDifference:
    """Compare two methods over R repeats of cross-validation on the same N images.

    The training sets of folds overlap, so their differences are not independent: the t interval
    over all J = R x folds of them takes the variance ``(1/J + n_test/n_train) s^2`` (Nadeau and
    Bengio 2003, "Inference for the generalization error"). The wider of it and the bootstrap of
    the images is reported.

    Args:
        correct_a_RN: whether a labelled image n rightly in repeat r, when it was held out.
        correct_b_RN: the same of b.
        fold_RN: the fold, from 0, that held image n out in repeat r.
        overlap: ``n_test / n_train``; 1 / (folds - 1) if left, where all other folds train.
        margin, resamples, seed: as in `paired_difference`.

    Raises:
        InputError: shapes that differ, fewer than two folds.
    """
    difference_RN = _difference(correct_a_RN, correct_b_RN)
    by_fold_J, overlap = by_fold(difference_RN, fold_RN, overlap)
    of_images, _ = bootstrap(
        difference_RN, one_for_each(difference_RN), resamples, np.random.default_rng(seed)
    )
    return _judged(
        correct_a_RN,
        correct_b_RN,
        lambda level: {
            "corrected_t": t_interval(by_fold_J, level, overlap),
            "image_bootstrap": percentiles(of_images, level),
        },
        of_images,
        p_value=max(draws_p(of_images), t_p(by_fold_J, overlap)),
        detectable=detectable_difference(by_fold_J, float(of_images.std()), overlap),
        margin=margin,
    )


def accuracy_interval(correct_SN: Bools, *, resamples: int = RESAMPLES, seed: int = 0) -> Range:
    """95 % interval of one method's accuracy over images and seeds, within 0 and 1.

    The wider of the two-way bootstrap of `paired_difference` and a t interval over the seeds. The
    two images that are made up are one named rightly and one named wrongly, so that a method
    without a mistake on 20 images is not said to make none. Of one seed Wilson's is better known.
    """
    right_SN = correct_SN.astype(np.float64)
    _, of_both = bootstrap(right_SN, RIGHT_AND_WRONG, resamples, np.random.default_rng(seed))
    intervals = {"two_way": percentiles(of_both, LEVEL)}
    if len(right_SN) > 1:  # of three seeds and many images the bootstrap alone covers 80 %
        intervals["t"] = t_interval(right_SN.mean(axis=1), LEVEL)
    (low, high), _ = wider(intervals)
    return max(low, 0.0), min(high, 1.0)


def fold_accuracy_interval(
    correct_RN: Bools,
    fold_RN: NDArray[np.integer],
    *,
    overlap: float | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Range:
    """95 % interval of one method's accuracy over repeats of folds, within 0 and 1.

    The wider of the corrected t of `fold_difference` and the bootstrap of the images, with the two
    made-up images of `accuracy_interval`.
    """
    right_RN = correct_RN.astype(np.float64)
    by_fold_J, overlap = by_fold(right_RN, fold_RN, overlap)
    of_images, _ = bootstrap(right_RN, RIGHT_AND_WRONG, resamples, np.random.default_rng(seed))
    (low, high), _ = wider(
        {"corrected_t": t_interval(by_fold_J, LEVEL, overlap),
         "image_bootstrap": percentiles(of_images, LEVEL)}
    )  # fmt: skip
    return max(low, 0.0), min(high, 1.0)


def _judged(
    correct_a_SN: Bools,
    correct_b_SN: Bools,
    intervals: Callable[[float], dict[str, Range]],
    of_images: Floats,
    *,
    p_value: float,
    detectable: float,
    margin: float,
) -> PairedDifference:
    """All that is said of a pair, from its intervals at any level; the wider one is reported."""
    by_seed_S = correct_a_SN.mean(axis=1) - correct_b_SN.mean(axis=1)
    reported = intervals(LEVEL)
    interval, basis = wider(reported)
    narrow, _ = wider(intervals(2 * LEVEL - 1))
    return PairedDifference(
        difference=float(by_seed_S.mean()),
        interval=interval,
        basis=basis,
        image_bootstrap=percentiles(of_images, LEVEL),
        two_way=reported.get("two_way"),
        paired_t=reported.get("paired_t"),
        corrected_t=reported.get("corrected_t"),
        p_value=p_value,
        mcnemar=tuple(mcnemar(a, b) for a, b in zip(correct_a_SN, correct_b_SN, strict=True)),
        seeds_won=float((by_seed_S > 0).sum() + 0.5 * (by_seed_S == 0).sum()),
        seeds_tied=int((by_seed_S == 0).sum()),
        seeds=correct_a_SN.shape[0],
        images=correct_a_SN.shape[1],
        equivalent=bool(-margin < narrow[0] and narrow[1] < margin)
        and _enough(correct_a_SN.shape[1], margin),
        detectable=detectable,
    )


def mcnemar(correct_a_N: Bools, correct_b_N: Bools) -> float:
    """Exact two-sided p that two trained models err equally often (McNemar 1947).

    Of the images that exactly one labels rightly, the share that a does is 1/2 under the
    hypothesis: a binomial test. 1 where they never differ.
    """
    only_a = int((correct_a_N & ~correct_b_N).sum())
    only_b = int((correct_b_N & ~correct_a_N).sum())
    if only_a + only_b == 0:
        return 1.0
    return float(stats.binomtest(only_a, only_a + only_b).pvalue)


def holm(p_values: Sequence[float], *, of: int | None = None) -> tuple[float, ...]:
    """The p-values of one report, adjusted so that the chance of any false claim is kept.

    Holm 1979: sorted from the smallest, the k-th of m is multiplied by m - k + 1 and is at least
    the one before it, at most 1. Given back in the order they came in.

    Args:
        p_values: those that are reported.
        of: m, where more comparisons could have been reported than were. The others are taken
            for the largest, which makes none of these smaller than it should be.
    """
    order = np.argsort(p_values, kind="stable")
    factors = (len(order) if of is None else of) - np.arange(len(order))
    raised = np.maximum.accumulate(np.asarray(p_values, dtype=float)[order] * factors)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(raised, 1.0)
    return tuple(float(p) for p in adjusted)


def _enough(images: int, margin: float) -> bool:
    """Whether so many images seldom (5 %) all hide a share of the size of the margin.

    299 at one point: the rule of three (Hanley and Lippman-Hand 1983).
    """
    return max(1 - margin, 0.0) ** images <= 1 - LEVEL


def _difference(correct_a_SN: Bools, correct_b_SN: Bools) -> Floats:
    if correct_a_SN.shape != correct_b_SN.shape or correct_a_SN.ndim != 2 or not correct_a_SN.size:
        raise InputError(
            f"a has answers of shape {correct_a_SN.shape} and b of {correct_b_SN.shape}; expected "
            "the same (seeds, images) of both, at least one of each."
        )
    return correct_a_SN.astype(np.float64) - correct_b_SN.astype(np.float64)
