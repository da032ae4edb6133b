"""What runs found of classes that they were never trained on, as small tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

from lacvit.arms import UNTOUCHED
from lacvit.errors import InputError
from lacvit.report.words import FEATURES
from lacvit.run_folder import read_json

MEASURES = {
    "knn_1": "k-NN, k = 1: the other half of the images labels it",
    "knn_5": "k-NN, k = 5",
    "recall_at_1": "R@1: the nearest of all others is of its class",
    "map_at_r": "MAP@R: its class comes before the others",
    "nmi": "NMI: k-means finds the classes without labels",
    "novelty_auroc": "AUROC: told from known classes by its neighbours",
}
HEAD_NOVELTY = "AUROC: told from known classes by the largest probability of its head"

Made = TypeVar("Made")


@dataclass(frozen=True)
class HeldOutSection:
    """``rows``: a measure in words, and its value for each of ``columns`` (encoders)."""

    class_names: tuple[str, ...]
    images: int
    known_images: int
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float, ...]], ...]
    head_novelty: float
    left_out: str


def held_out_section(run: Path) -> HeldOutSection | None:
    """From ``evaluation/held_out.json``; None where no class was held out.

    Raises:
        InputError: the file is there and is not as lacvit writes it.
    """
    return _read(run, _section)


def _read(run: Path, make: Callable[[Mapping[str, Any]], Made]) -> Made | None:
    path = run / "evaluation" / "held_out.json"
    if not path.is_file():
        return None
    try:
        return make(read_json(path))
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise InputError(
            f"{path} is not as lacvit writes it ({fault!r}). Run the same `lacvit train` command "
            f"with --overwrite to write it anew."
        ) from fault


def _section(figures: Mapping[str, Any]) -> HeldOutSection:
    encoders = figures["embeddings"]
    return HeldOutSection(
        class_names=tuple(map(str, figures["class_names"])),
        images=int(figures["images"]),
        known_images=int(figures["known_images"]),
        columns=tuple(FEATURES.get(name, name) for name in encoders),
        rows=tuple(
            (words, tuple(float(measures[name]) for measures in encoders.values()))
            for name, words in MEASURES.items()
            if all(name in measures for measures in encoders.values())
        ),
        head_novelty=float(figures["head_novelty_auroc"]),
        left_out=str(figures.get("left_out", "")),
    )


@dataclass(frozen=True)
class HeldOutTable:
    """``rows``: a measure in words, and its mean for each of ``columns`` (methods), or nan."""

    class_names: tuple[str, ...]
    images: int
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float, ...]], ...]
    left_out: str

    @property
    def lines(self) -> list[tuple[object, ...]]:
        """A line a measure, for the CSV."""
        return [(words, *values) for words, values in self.rows]

    def as_json(self) -> dict[str, Any]:
        """As ``comparison.json`` has it: by measure and method, None where one has no figure."""
        return {
            "class_names": list(self.class_names),
            "images": self.images,
            "measures": {
                words: {
                    name: value if math.isfinite(value) else None
                    for name, value in zip(self.columns, values, strict=True)
                }
                for words, values in self.rows
            },
        }


@dataclass(frozen=True)
class _Found:
    """Of one run: the measures of the untouched encoder, and of its own with its head."""

    section: HeldOutSection
    untouched: Mapping[str, float]
    own: Mapping[str, float]


def held_out_table(folder: Path, cell: Mapping[str, Any]) -> HeldOutTable | None:
    """Means over each method's runs; None where no class was held out.

    A method is told by its last encoder. The untouched one has a column of its own where no
    method leaves it as it is.

    Raises:
        InputError: a file of it is not as lacvit writes it.
    """
    found = {
        method["method"]: [
            one
            for run in method["runs"]
            if (one := _read(folder / run["folder"], _found)) is not None
        ]
        for method in cell["methods"]
    }
    found = {method: runs for method, runs in found.items() if runs}
    if not found:
        return None
    every = [run for runs in found.values() for run in runs]
    columns = {method: [run.own for run in runs] for method, runs in found.items()}
    if all(len(run.section.columns) > 1 for run in every):
        columns = {FEATURES[UNTOUCHED]: [run.untouched for run in every]} | columns
    words = {**MEASURES, "head_novelty_auroc": HEAD_NOVELTY}
    first = every[0].section
    return HeldOutTable(
        class_names=first.class_names,
        images=first.images,
        columns=tuple(columns),
        rows=tuple(
            (title, tuple(_mean(runs, name) for runs in columns.values()))
            for name, title in words.items()
            if any(name in run for runs in columns.values() for run in runs)
        ),
        left_out=first.left_out,
    )


def _found(figures: Mapping[str, Any]) -> _Found:
    encoders = list(figures["embeddings"].values())
    own = {**encoders[-1], "head_novelty_auroc": figures["head_novelty_auroc"]}
    return _Found(_section(figures), encoders[0], own)


def _mean(runs: Sequence[Mapping[str, float]], name: str) -> float:
    values = [float(run[name]) for run in runs if name in run]
    return fmean(values) if values else math.nan
