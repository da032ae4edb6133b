"""The detail of one cell of a comparison: what is drawn of its methods' first seed.

What a picture needs stands in the payload that the page's scripts read; what is text stands in
the view that the template reads.

Shape letters: N test images, M of them sampled, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lacvit.metrics.classification import confusion_matrix
from lacvit.report import charts, confusion, embedded
from lacvit.report.arm_runs import ArmRun
from lacvit.report.charts import Chart
from lacvit.report.collect import read_stages
from lacvit.report.geometry_table import GeometryTable, read_geometry
from lacvit.report.held_out import HeldOutTable, held_out_table
from lacvit.report.pool import Pool
from lacvit.report.record import Integers
from lacvit.report.rows import JUDGED
from lacvit.report.words import percent


@dataclass(frozen=True)
class Panel:
    """One embedding on the page."""

    number: int
    title: str
    caption: str
    similarity: Chart


@dataclass(frozen=True)
class Neighbour:
    path: str
    label: str
    same: bool  # as the query's


@dataclass(frozen=True)
class Neighbours:
    """A query with a row of neighbours for each embedding."""

    path: str
    label: str
    before: float
    after: float
    rows: tuple[tuple[str, tuple[Neighbour, ...]], ...]

    @property
    def paths(self) -> list[str]:
        return [self.path, *(near.path for _, row in self.rows for near in row)]


@dataclass(frozen=True)
class Detail:
    """What the template shows of a cell beside its tables."""

    seed: int
    arms: tuple[str, ...]
    learning: tuple[Chart, ...]
    time: Chart | None
    reliability: Chart | None
    spectrum: Chart | None
    panels: tuple[Panel, ...]
    images: int
    fewer: int
    queries: tuple[Neighbours, ...]
    geometry: GeometryTable | None
    held_out: HeldOutTable | None

    @property
    def neighbour_rows(self) -> list[tuple[object, ...]]:
        """A line a neighbour, for the CSV."""
        return [
            (query.path, query.label, title, rank, near.path, near.label)
            for query in self.queries
            for title, row in query.rows
            for rank, near in enumerate(row, 1)
        ]

    @property
    def charts(self) -> list[Chart]:
        """Every chart, for the payload."""
        single = (self.time, self.reliability, self.spectrum)
        found = [*self.learning, *single, *(panel.similarity for panel in self.panels)]
        return [chart for chart in found if chart is not None]


def outline(folder: Path, key: str, cell: Mapping[str, Any]) -> Detail:
    """What can be told of any cell, without its methods' answers."""
    runs = {
        method["method"]: [
            (run["seed"], list(read_stages(folder / run["folder"], method["method"])))
            for run in method["runs"]
        ]
        for method in cell["methods"]
    }
    return Detail(
        seed=0,
        arms=(),
        learning=tuple(charts.learning_curves(key, runs)),
        time=charts.over_time(f"{key}-time", cell),
        reliability=None,
        spectrum=None,
        panels=(),
        images=0,
        fewer=0,
        queries=(),
        geometry=read_geometry(folder, cell),
        held_out=held_out_table(folder, cell),
    )


def detail(
    plain: Detail, key: str, arms: Sequence[ArmRun], pool: Pool, names: Sequence[str]
) -> tuple[Detail, dict[str, Any]]:
    """The cell with its methods' answers and embeddings, and what the scripts read of it."""
    payload: dict[str, Any] = {
        "said": {arm.method: arm.predictions_N[pool.rows_P].tolist() for arm in arms},
        "confusion": _confusion(arms, len(names)),
        "embedding": None,
    }
    found = embedded.embeddings(arms)
    changes: dict[str, Any] = {
        "seed": arms[0].seed,
        "arms": tuple(arm.method for arm in arms),
        "reliability": charts.reliability_chart(f"{key}-reliability", arms, names),
    }
    if found and len(pool.rows_P) > JUDGED:
        shown, payload["embedding"] = _embedding(key, found, arms[0], pool, names)
        changes |= shown
    return Detail(**{**vars(plain), **changes}), payload


def _embedding(
    key: str,
    found: Sequence[embedded.Embedding],
    arm: ArmRun,
    pool: Pool,
    names: Sequence[str],
) -> tuple[dict[str, Any], dict[str, Any]]:
    labels_N = arm.labels_N
    chosen_M = pool.rows_P[: pool.sample]
    linear, neighbour = embedded.place(found, labels_N)
    cosines = [embedded.cosines(one.features_ND, chosen_M) for one in found]
    lowest = embedded.lowest_cosine(cosines)
    panels = tuple(
        Panel(
            number,
            one.title,
            f"{percent(plane.agreement, 0)} of the ten nearest (or fewer) share the label; "
            f"the plane of PCA holds {percent(plane.variance or 0, 0)} of the variance",
            embedded.similarity_chart(
                f"{key}-cosines-{number}", one, cosines[number], labels_N[chosen_M], lowest
            ),
        )
        for number, (one, plane) in enumerate(zip(found, linear, strict=True))
    )
    asked = []
    if len(found) > 1:
        asked = embedded.queries(cosines, labels_N[chosen_M], 0, len(found) - 1)
    shown = {
        "panels": panels,
        "spectrum": embedded.spectrum_chart(f"{key}-spectrum", found),
        "images": len(chosen_M),
        "fewer": len(neighbour[0].labels_N) if neighbour else 0,
        "queries": tuple(_neighbours(query, found, chosen_M, arm, names) for query in asked),
    }
    planes = [
        {
            "title": one.title,
            "pca": embedded.whole_numbers(flat.points_N2),
            "tsne": embedded.whole_numbers(neighbour[number].points_N2) if neighbour else [],
        }
        for number, (one, flat) in enumerate(zip(found, linear, strict=True))
    ]
    return shown, {"sample": len(chosen_M), "planes": planes}


def _neighbours(
    query: embedded.Query,
    found: Sequence[embedded.Embedding],
    chosen_M: Integers,
    arm: ArmRun,
    names: Sequence[str],
) -> Neighbours:
    place = chosen_M[query.image]
    label = arm.labels_N[place]
    rows = []
    for one, near in zip(found, query.nearest, strict=True):
        images = [
            Neighbour(arm.paths[row], names[arm.labels_N[row]], bool(arm.labels_N[row] == label))
            for row in chosen_M[list(near)]
        ]
        rows.append((one.title, tuple(images)))
    return Neighbours(arm.paths[place], names[label], query.before, query.after, tuple(rows))


def _confusion(arms: Sequence[ArmRun], classes: int) -> dict[str, Any]:
    """The cells that hold images, as label, prediction, count in turn; one order for all methods.

    Above `charts.NAMED` classes those that the last method confuses stand near each other.
    """
    order = list(range(classes))
    cells = {}
    for arm in arms:
        counts_CC = confusion_matrix(arm.labels_N, arm.predictions_N, classes)
        rows, columns = counts_CC.nonzero()
        flat = zip(rows.tolist(), columns.tolist(), counts_CC[rows, columns].tolist(), strict=True)
        cells[arm.method] = [number for cell in flat for number in cell]
        if classes > charts.NAMED:
            order = confusion.side_by_side(counts_CC).tolist()
    return {"order": order, "cells": cells}
