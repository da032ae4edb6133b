"""The geometry of the arms' embeddings as one table: a row a measure, a column an encoder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lacvit.arms import UNTOUCHED
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


def read_geometry(folder: Path, cell: Mapping[str, Any]) -> GeometryTable | None:
    """Means over the seeds that have an ``evaluation/geometry.json``; None where no run has one."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    verdicts = []
    for method in cell["methods"]:
        files = [folder / run["folder"] / "evaluation" / "geometry.json" for run in method["runs"]]
        known = [read_json(file) for file in files if file.is_file()]
        for one in known:
            for encoder, measures in one.get("embeddings", {}).items():
                column = UNTOUCHED if encoder == UNTOUCHED else method["method"]
                found.setdefault(column, []).append(measures)
        if known and known[0].get("verdict"):
            verdicts.append((method["method"], tuple(map(str, known[0]["verdict"]))))
    if not found:
        return None
    columns = sorted(found, key=lambda name: name != UNTOUCHED)
    names = dict.fromkeys(
        (group, name)
        for column in columns
        for one in found[column]
        for group in ("geometry", "quality")
        for name, value in one.get(group, {}).items()
        if isinstance(value, int | float) and not name.endswith(ERROR)
    )
    rows = tuple(
        (group, TITLES.get(name, name), tuple(_mean(found[c], group, name) for c in columns))
        for group, name in sorted(names, key=lambda pair: pair[0])
    )
    return GeometryTable(tuple(columns), rows, tuple(verdicts))


def _mean(runs: Sequence[Mapping[str, Any]], group: str, name: str) -> float:
    values = [float(run[group][name]) for run in runs if name in run.get(group, {})]
    return sum(values) / len(values) if values else math.nan
