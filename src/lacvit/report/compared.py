"""What two methods answered differently, image by image and class by class.

Shape letters: S seeds, N test images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lacvit.evaluated import read_predictions


@dataclass(frozen=True, eq=False)
class Answers:
    """One method's answers under several seeds, in the order of the paths."""

    paths: tuple[str, ...]
    labels: tuple[str, ...]
    predictions: tuple[tuple[str, ...], ...]  # a row a seed
    correct_SN: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Change:
    """An image that one method labels rightly and the other does not."""

    path: str
    label: str
    wrong: str  # what the other one says most often
    share: float  # of the seeds in which it is so


@dataclass(frozen=True)
class ClassGain:
    """Recall of one class by either method, and how many test images it has."""

    name: str
    ours: float
    other: float
    images: int


def read_answers(by_seed: Sequence[Sequence[Path]]) -> Answers:
    """The answers of one method's runs, seed after seed.

    Args:
        by_seed: the runs of each seed: one, or one for each fold, which together hold each image
            once.

    Raises:
        InputError: a file of answers is missing or damaged.
    """
    tables = [
        pa.concat_tables(
            [read_predictions(run / "evaluation", "path", "label", "prediction") for run in runs]
        ).sort_by("path")
        for runs in by_seed
    ]
    labels = tables[0]["label"].to_pylist()
    predictions = tuple(tuple(table["prediction"].to_pylist()) for table in tables)
    correct = [[a == b for a, b in zip(labels, row, strict=True)] for row in predictions]
    return Answers(
        tuple(tables[0]["path"].to_pylist()), tuple(labels), predictions, np.array(correct)
    )


def changes(right: Answers, wrong: Answers) -> list[Change]:
    """Images that ``right`` gets and ``wrong`` does not, in more seeds than not; clearest first.

    Among equally clear ones the classes take turns: in the order of paths one class would lead.
    """
    share_N = (right.correct_SN & ~wrong.correct_SN).mean(axis=0)
    told = [int(i) for i in np.flatnonzero(share_N > 0.5)]
    before: Counter[tuple[float, str]] = Counter()
    turn: dict[int, int] = {}
    for i in told:
        alike = (float(share_N[i]), right.labels[i])
        turn[i] = before[alike]
        before[alike] += 1
    chosen = sorted(told, key=lambda i: (-share_N[i], turn[i]))
    return [
        Change(
            right.paths[i], right.labels[i], _usual(wrong, i), float(share_N[i])
        )
        for i in chosen
    ]  # fmt: skip


def _usual(answers: Answers, image: int) -> str:
    said = [
        row[image]
        for row, correct in zip(answers.predictions, answers.correct_SN[:, image], strict=True)
        if not correct
    ]
    return max(sorted(set(said)), key=said.count)


def class_gains(ours: Answers, other: Answers) -> list[ClassGain]:
    """Every class's recall by either method, over all seeds; the largest gain first."""
    labels = np.array(ours.labels)
    gains = []
    for name in sorted(set(ours.labels)):
        of_class = labels == name
        gains.append(
            ClassGain(
                name,
                float(ours.correct_SN[:, of_class].mean()),
                float(other.correct_SN[:, of_class].mean()),
                int(of_class.sum()),
            )
        )
    return sorted(gains, key=lambda gain: gain.other - gain.ours)
