"""Which test images a comparison's page carries as pictures, and what every method says of them.

Shape letters: N test images, P of them in the pool, C classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lacvit.report.arm_runs import ArmRun
from lacvit.report.projection import sampled
from lacvit.report.record import Integers

EXTRA = 1_000  # mistakes that are not in the sample
A_CELL = 4  # pictures of a confusion cell that the extra ones aim at


@dataclass(frozen=True, eq=False)
class Pool:
    """Places of test images in the order of their paths; the first ``sample`` are a sample."""

    rows_P: Integers
    sample: int


def choose(arms: Sequence[ArmRun]) -> Pool:
    """At most 2,000 images drawn at random, the same for every method, then mistakes of each.

    A mistake is added where its cell of the method's confusion matrix has few pictures yet.
    """
    sample_P = sampled(len(arms[0].paths))
    chosen = dict.fromkeys(int(row) for row in sample_P)
    order = np.random.default_rng(1).permutation(len(arms[0].paths))
    for arm in arms:
        cells = list(zip(arm.labels_N.tolist(), arm.predictions_N.tolist(), strict=True))
        pictured = Counter(cells[row] for row in chosen)
        for row in map(int, order):
            label, said = cells[row]
            if len(chosen) >= len(sample_P) + EXTRA:
                break
            if label != said and row not in chosen and pictured[label, said] < A_CELL:
                chosen[row] = None
                pictured[label, said] += 1
    return Pool(np.array(list(chosen), dtype=np.int64), len(sample_P))
