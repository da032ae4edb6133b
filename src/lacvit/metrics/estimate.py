"""A figure that may rest on a sample of the rows, with its error; and how samples are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WHOLE = 10_000  # up to so many rows, measures of neighbours look at every pair
PART, PARTS = 5_000, 4  # above, at several parts of so many rows


@dataclass(frozen=True)
class Estimate:
    """A value, and the standard error that sampling rows or pairs left in it."""

    value: float
    error: float = 0.0
    """0 where every row or pair was used: then the value is exact for these embeddings."""


def mean_of(values: Sequence[float] | NDArray[np.floating], population: int) -> Estimate:
    """The mean of values drawn without replacement from so many; exact if all were drawn."""
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    if n >= population or n < 2:
        return Estimate(float(values.mean()))
    left_out = 1 - n / population  # the error of a sample without replacement ends at 0
    return Estimate(float(values.mean()), float(values.std(ddof=1) * np.sqrt(left_out / n)))


def sampled_rows(n: int, most: int, seed: int) -> NDArray[np.int64]:
    """All row numbers, or `most` of them drawn without replacement; sorted."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, most, replace=False))


def parts_of(n: int, seed: int) -> list[NDArray[np.int64]]:
    """All row numbers in one part up to WHOLE rows, else 2 to PARTS disjoint parts of PART rows."""
    if n <= WHOLE:
        return [np.arange(n)]
    shuffled_N = np.random.default_rng(seed).permutation(n)
    count = min(PARTS, n // PART)
    return [np.sort(shuffled_N[i * PART : (i + 1) * PART]) for i in range(count)]


def over_parts(values: Sequence[float]) -> Estimate:
    """The mean over parts and its standard error; of one part, its value."""
    if len(values) == 1:
        return Estimate(float(values[0]))
    return Estimate(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values))))


def with_errors(found: Mapping[str, float | Estimate]) -> dict[str, float]:
    """Numbers by name, the error of a sample beside it as NAME_error; what is not finite goes."""
    numbers: dict[str, float] = {}
    for name, figure in found.items():
        estimate = figure if isinstance(figure, Estimate) else Estimate(figure)
        if np.isfinite(estimate.value):
            numbers[name] = estimate.value
            if estimate.error > 0:
                numbers[f"{name}_error"] = estimate.error
    return numbers
