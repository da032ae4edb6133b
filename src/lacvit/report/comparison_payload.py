"""What a comparison's page carries beside its words: pictures, data for the scripts, plotly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from markupsafe import Markup

from lacvit.report import plots, theme
from lacvit.report.arm_runs import ArmRun
from lacvit.report.charts import Chart
from lacvit.report.pool import Pool
from lacvit.report.record import Predictions
from lacvit.report.sections import key_classes
from lacvit.report.sprites import Sheet, read_tiles, sheet
from lacvit.report.thumbnails import Thumbnails

# A page holds 4.8 MB of plotly and may have 10; base 64 adds a third to what is said here.
SMALL_BYTES = 1_500_000
LARGE_BYTES = 1_100_000
LARGE_SIDE = 112
SMALL_SIDES = ((600, 64), (1_500, 48))  # up to so many pictures, of that side
SMALLEST = 32


@dataclass(frozen=True)
class Pictures:
    """Small ones, in the order of the pool, and large ones by their paths."""

    small: Sheet | None
    large: Sheet | None
    places: Mapping[str, int]
    missing: str

    def style(self, path: str) -> str:
        """The CSS that shows one of the large pictures in its box."""
        assert self.large is not None  # the template asks only where there are pictures
        return self.large.style(self.places[path])


NO_PICTURES = Pictures(small=None, large=None, places={}, missing="")


def read_pictures(thumbnails: Thumbnails, small: Sequence[str], large: Iterable[str]) -> Pictures:
    """Both sheets of pictures; none, and the reason, where the images cannot be read."""
    places = {path: number for number, path in enumerate(dict.fromkeys(large))}
    side = next((side for count, side in SMALL_SIDES if len(small) <= count), SMALLEST)
    few = read_tiles(thumbnails, list(places), LARGE_SIDE)
    many = read_tiles(thumbnails, small, side)
    missing = few.missing or many.missing
    return Pictures(
        small=sheet(many, SMALL_BYTES),
        large=sheet(few, LARGE_BYTES),
        places=places,
        missing=f"The images themselves cannot be shown: {missing}" if missing else "",
    )


def page_data(
    methods: Sequence[str],
    charts: Iterable[Chart],
    cells: Mapping[int, Mapping[str, Any]],
    reference: tuple[ArmRun, Pool, Sequence[str]] | None,
    pictures: Pictures,
) -> dict[str, Any]:
    """All that the page's scripts read.

    Args:
        cells: of the cells that are told in detail, by their place on the page.
        reference: any method's run, the images that have pictures, and the class names.
    """
    small = pictures.small
    found: dict[str, Any] = {
        "arms": list(methods),
        "arm_symbols": [theme.class_marker(number) for number in range(len(methods))],
        "symbols": [theme.class_marker(number) for number in range(plots.COLOURED_CLASSES)],
        "inks": {"light": theme.css_variables(0), "dark": theme.css_variables(1)},
        "charts": {chart.key: chart.payload() for chart in charts},
        "cells": cells,
        "classes": [],
        "key": [],
        "pool": {"labels": [], "paths": []},
        "sheet": small and {"columns": small.columns, "rows": small.rows, "pixels": small.pixels},
    }
    if reference is not None:
        arm, pool, names = reference
        answers = Predictions(tuple(names), arm.labels_N, arm.predictions_N)
        found |= {
            "classes": list(names),
            "key": key_classes(answers),
            "pool": {
                "labels": arm.labels_N[pool.rows_P].tolist(),
                "paths": [arm.paths[row] for row in pool.rows_P],
            },
        }
    return found


def plotly_script() -> str:
    """The text of plotly.js as the installed package has it."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def plotly_licence() -> Markup:
    """Its licence as a comment of the page; empty where the package came without it."""
    try:
        files = distribution("plotly").files or []
    except PackageNotFoundError:
        files = []
    texts = [
        Path(str(file.locate())).read_text(encoding="utf-8")
        for file in files
        if file.name.upper().startswith("LICENSE")
    ]
    text = (texts[0] if texts else "MIT").replace("--", "- -").replace(">", "&gt;")
    return Markup(f"<!-- plotly.js stands in this page under its licence:\n{text}\n-->")
