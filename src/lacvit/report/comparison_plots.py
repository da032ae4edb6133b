"""The figures of a comparison: accuracies with their seeds, differences, accuracy over shots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lacvit.report.frames import Frame
from lacvit.report.theme import class_colour, class_marker, light, method_dash
from lacvit.report.words import display_width, points, shortened, standing_of

ROW = 0.34  # inches
NAME_LETTERS = 24
LETTER = 0.066  # inches that a letter of a row's name takes
NAME_HEIGHT = 0.065  # of the axis' height, beside the lines of `draw_over_shots`
SHOTS_FRAME = Frame(4.6, 2.9, left=0.5, right=1.3, bottom=0.45, top=0.12)


def rows_frame(names: Sequence[str]) -> Frame:
    """Room for a row each, with its name at its left."""
    longest = max(display_width(shortened(name, NAME_LETTERS)) for name in names)
    left = 0.15 + LETTER * longest
    return Frame(left + 2.75, ROW * len(names) + 0.6, left=left, right=0.5, bottom=0.45, top=0.1)


def draw_accuracies(axes: Axes, methods: Sequence[Mapping[str, Any]]) -> None:
    """A row a method: its 95 % interval as a bar, its mean as a tick, each seed as a dot."""
    axes.use_sticky_edges = False  # a bar that begins at the edge looks cut off
    for row, method in enumerate(reversed(methods)):
        if method["interval"] is not None:
            low, high = (100 * end for end in method["interval"])
            axes.barh(row, high - low, left=low, height=0.5, color=light("right"), alpha=0.25)
        values = [100 * run["accuracy"] for run in method["runs"]]
        axes.plot(values, [row] * len(values), "o", color=light("right"), markersize=3.5, alpha=0.8)
        mean = 100 * method["accuracy"]
        axes.plot([mean, mean], [row - 0.32, row + 0.32], color=light("right"), linewidth=2)
        axes.annotate(
            f"{mean:.1f}", (1.01, row), xycoords=("axes fraction", "data"), va="center",
            fontweight="bold",
        )  # fmt: skip
    _named_rows(axes, [method["method"] for method in methods])
    axes.set_xlabel("Accuracy@1 on the test images, %")


def draw_differences(axes: Axes, pairs: Sequence[Mapping[str, Any]], margin: float) -> None:
    """A row a pair: the difference in points with its interval; the margin is shaded."""
    axes.axvspan(-100 * margin, 100 * margin, color=light("rule"), alpha=0.6, linewidth=0)
    axes.axvline(0, color=light("muted"), linewidth=1)
    for row, pair in enumerate(reversed(pairs)):
        low, high = (100 * end for end in pair["interval"])
        colour = light({"better": "right", "worse": "wrong"}.get(standing_of(pair), "muted"))
        axes.plot([low, high], [row, row], color=colour, linewidth=2, solid_capstyle="round")
        axes.plot(100 * pair["difference"], row, "o", color=colour, markersize=6)
        axes.annotate(
            points(pair["difference"]), (1.01, row), xycoords=("axes fraction", "data"),
            va="center", fontweight="bold", color=colour,
        )  # fmt: skip
    _named_rows(axes, row_names(pairs))
    axes.set_xlabel("difference in points, with its 95 % interval")


def row_names(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What stands beside the rows of :func:`draw_differences`."""
    return [f"over {pair['against']}" for pair in pairs]


def draw_over_shots(axes: Axes, cells: Sequence[Mapping[str, Any]], methods: Sequence[str]) -> None:
    """A line a method over the images a class, with intervals; the cells are of one backbone.

    A method that has not ended everywhere has a shorter line, and its name stands by its end.

    Args:
        cells: in the order of their images a class.
        methods: of the whole comparison: a method looks alike in each of its charts.
    """
    ends: dict[int, float] = {}  # the method's number -> where its line ends
    for number, name in enumerate(methods):
        found = [
            (cell["shots"], method)
            for cell in cells
            for method in cell["methods"]
            if method["method"] == name
        ]
        if not found:
            continue
        x = [shots for shots, _ in found]
        y = [100 * method["accuracy"] for _, method in found]
        ends[number] = y[-1]
        colour = class_colour(number)
        axes.plot(
            x, y, color=colour, marker=class_marker(number), linestyle=method_dash(number),
            linewidth=1.6, markersize=5,
        )  # fmt: skip
        for shots, method in found:
            if method["interval"] is not None:
                low_high = [100 * end for end in method["interval"]]
                axes.plot([shots, shots], low_high, color=colour, linewidth=1, alpha=0.6)
    places = _apart(list(ends.values()), axes.get_ylim())
    for place, number in zip(places, ends, strict=True):
        axes.annotate(
            shortened(methods[number], 22), (1.03, place), xycoords=("axes fraction", "data"),
            va="center", color=light("ink"), fontweight="bold",
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks([cell["shots"] for cell in cells], [str(cell["shots"]) for cell in cells])
    axes.minorticks_off()
    axes.set_xlabel("labelled images a class")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    axes.grid(axis="y", color=light("rule"), linewidth=0.6)


def _apart(values: Sequence[float], ends: tuple[float, float]) -> list[float]:
    """The values, moved apart as far as their names need on an axis from end to end."""
    gap = NAME_HEIGHT * (ends[1] - ends[0])
    order = sorted(range(len(values)), key=lambda i: values[i])
    placed = list(values)
    for before, after in pairwise(order):
        placed[after] = max(placed[after], placed[before] + gap)
    shift = (sum(placed) - sum(values)) / len(values)
    return [place - shift for place in placed]


def _named_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [shortened(name, NAME_LETTERS) for name in reversed(names)])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.tick_params(axis="y", length=0, labelcolor=light("ink"))
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.grid(axis="x", color=light("rule"), linewidth=0.6)
    axes.set_axisbelow(True)
    axes.margins(x=0.06)
