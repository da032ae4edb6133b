"""The geometry of the arms' embeddings as one table: a row a measure, a column an encoder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from lacvit.arms import UNTOUCHED
from lacvit.errors import first_line
from lacvit.evaluated import FEATURES, damaged
from lacvit.metrics.verdict import TRAINED_BY, isotropy_verdict
from lacvit.report.measures import ERROR, GEOMETRY, QUALITY
from lacvit.run_folder import read_json

TITLES = {name: title for name, (title, _) in (GEOMETRY | QUALITY).items()}


@dataclass(frozen=True)
class GeometryTable:
    """``rows``: a group, a measure's name, and its value for each of ``columns`` or nan."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, str, tuple[float, ...]], ...]
    verdicts: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def head(self) -> tuple[str, ...]:
        return ("group", "measure", *self.columns)

    @property
    def lines(self) -> list[tuple[object, ...]]:
        return [(group, measure, *values) for group, measure, values in self.rows]

    def as_json(self) -> dict[str, Any]:
        """As ``comparison.json`` has it: by measure and encoder, None where one has no figure."""
        by_group: dict[str, dict[str, dict[str, float | None]]] = {}
        for group, measure, values in self.rows:
            by_group.setdefault(group, {})[measure] = {
                name: value if math.isfinite(value) else None
                for name, value in zip(self.columns, values, strict=True)
            }
        said = {method: " ".join(words) for method, words in self.verdicts}
        return {**by_group, "verdicts": said}


def read_geometry(folder: Path, cell: Mapping[str, Any]) -> GeometryTable | None:
    """Means over the runs that have an ``evaluation/geometry.json``; None where none has one.

    Of the seeds that all methods have, as the accuracies are; until there is one, of every run.
    Each method's encoder is its last; the verdict is of the means, not of one run.
    """
    untouched: list[Mapping[str, Any]] = []
    trained: dict[str, list[Mapping[str, Any]]] = {}
    verdicts: dict[tuple[str, ...], list[str]] = {}  # methods with one encoder say the same
    for method in cell["methods"]:
        shared = [run for run in method["runs"] if run["seed"] in cell["seeds"]]
        runs = [folder / run["folder"] / "evaluation" for run in shared or method["runs"]]
        known = [run for run in runs if (run / "geometry.json").is_file()]
        found = [read_json(run / "geometry.json").get("embeddings", {}) for run in known]
        before = [one[UNTOUCHED] for one in found if UNTOUCHED in one]
        last = [next((n for n in reversed(one) if n != UNTOUCHED), "") for one in found]
        after = [one[name] for one, name in zip(found, last, strict=True) if name]
        untouched += before
        if after:
            trained[method["method"]] = after
        if before:
            words = _verdict(before, after, last[0], cell["classes"], _dimensions(known[0]))
            verdicts.setdefault(words, []).append(method["method"])
    columns = ({UNTOUCHED: untouched} if untouched else {}) | trained
    if not columns:
        return None
    names = dict.fromkeys(
        (group, name)
        for runs in columns.values()
        for group in ("geometry", "quality")
        for name in _means(runs, group)
    )
    rows = tuple(
        (
            group,
            TITLES.get(name, name),
            tuple(_means(runs, group).get(name, math.nan) for runs in columns.values()),
        )
        for group, name in sorted(names, key=lambda pair: pair[0])
    )
    said = tuple((" and ".join(methods), words) for words, methods in verdicts.items() if words)
    return GeometryTable(tuple(columns), rows, said)


def _verdict(
    before: Sequence[Mapping[str, Any]],
    after: Sequence[Mapping[str, Any]],
    encoder: str,
    classes: int,
    dimensions: int,
) -> tuple[str, ...]:
    if not dimensions:
        return ()
    return isotropy_verdict(
        _means(before, "geometry"),
        _means(after, "geometry") if after else None,
        classes=classes,
        dimensions=dimensions,
        trained_by=TRAINED_BY.get(encoder, "training"),
    )


def _dimensions(evaluation: Path) -> int:
    """Of the untouched features; 0 where they were not kept."""
    path = evaluation / FEATURES
    if not path.is_file():
        return 0
    try:
        with safe_open(path, framework="numpy") as features:
            return int(features.get_slice(UNTOUCHED).get_shape()[1])
    except (SafetensorError, OSError) as fault:
        raise damaged(path, first_line(fault)) from fault


def _means(runs: Sequence[Mapping[str, Any]], group: str) -> dict[str, float]:
    """Each measure's mean over the runs that have it."""
    values: dict[str, list[float]] = {}
    for run in runs:
        for name, value in run.get(group, {}).items():
            if isinstance(value, int | float) and not name.endswith(ERROR):
                values.setdefault(name, []).append(float(value))
    return {name: sum(found) / len(found) for name, found in values.items()}
