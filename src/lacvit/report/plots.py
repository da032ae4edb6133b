"""The figures of a report: each `draw_*` fills one matplotlib axes, whatever it ends up in.

On the page every panel is an SVG of its own, so that a phone can stack them; in the PNG files
the panels of a figure stand side by side.

Shape letters: N images, C classes, H height, W width, 2 plane.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.ticker import LogLocator, MaxNLocator
from PIL import Image

from lacvit.report.frames import Frame
from lacvit.report.record import Floats, Integers
from lacvit.report.theme import class_colour, class_marker, light
from lacvit.report.words import display_width, shortened

Image8 = npt.NDArray[np.uint8]

CURVE_FRAME = Frame(3.5, 2.1, left=0.5, right=0.12, bottom=0.45, top=0.12)
PLANE_FRAME = Frame(3.2, 3.0)
SHEET_GAP = 6  # pixels between images; twice as much after an original
NAMED_CLASSES = 30  # above it a confusion matrix has no room for names and numbers
SHADES = 24
NAME_LETTERS = 16
COLOURED_CLASSES = 10
VALUE_WIDTH = 0.1  # of the axis' width: how far left of the end of a curve its value reaches
STEEP = 0.2  # of the height of a value


@dataclass(frozen=True)
class Curve:
    """One series, with the lines it moves between; `best` is marked, or else the last value."""

    title: str
    x: Sequence[float]
    y: Sequence[float]
    x_name: str = "epoch"
    marks: Mapping[str, float] | None = None
    percent: bool = False
    logarithmic_x: bool = False
    best: int | None = None


def draw_curve(axes: Axes, curve: Curve) -> None:
    """A line with its last value beside its end; reference values as dashed lines."""
    y = np.asarray(curve.y, dtype=float)
    x = np.asarray(curve.x, dtype=float)
    seen = np.isfinite(y)
    x, y = x[seen], y[seen]
    axes.set_xlabel(curve.x_name)
    if curve.logarithmic_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=7))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.minorticks_off()
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    if curve.percent:
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    axes.grid(axis="y", color=light("rule"), linewidth=0.6)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_axisbelow(True)
    if len(y) == 0:
        return
    axes.plot(x, y, color=light("right"), linewidth=1.6, marker="o" if len(y) <= 12 else "")
    axes.margins(y=0.16)
    marks = curve.marks or {}
    for position, (name, value) in enumerate(marks.items()):
        axes.axhline(value, color=light("muted"), linewidth=0.9, linestyle=(0, (4, 3)))
        _tag(axes, value, name, below=position > 0)
    best = curve.best
    place = int(seen[:best].sum()) if best is not None and seen[best] else len(y) - 1
    near = 0.15 * float(np.ptp(axes.get_ylim()))
    text = f"{100 * y[place]:.1f} %" if curve.percent else f"{y[place]:.3g}"
    at_end = place == len(y) - 1
    crowded = any(0 <= mark - y[place] < near for mark in marks.values())
    free = not any(0 <= y[place] - mark < near for mark in marks.values())
    falls = at_end and not curve.logarithmic_x and _fall(x, y) > STEEP * near
    below = crowded or (falls and free)
    _point_out(axes, (float(x[place]), float(y[place])), text, at_end=at_end, below=below)


def _fall(x: Floats, y: Floats) -> float:
    """How far a curve falls where the value of its end stands beside it."""
    return float(np.interp(x[-1] - VALUE_WIDTH * np.ptp(x), x, y) - y[-1])


def _point_out(
    axes: Axes, place: tuple[float, float], text: str, *, at_end: bool, below: bool
) -> None:
    axes.plot(*place, color=light("right"), marker="o", markersize=5)
    axes.annotate(
        text,
        place,
        xytext=(3 if at_end else 0, -6 if below else 6),
        textcoords="offset points",
        ha="right" if at_end else "center",
        va="top" if below else "bottom",
        fontweight="bold",
    )


def _tag(axes: Axes, value: float, text: str, *, below: bool) -> None:
    axes.annotate(
        text,
        (0.5, value),  # a falling loss passes neither line there
        xycoords=("axes fraction", "data"),
        xytext=(0, -3 if below else 3),
        textcoords="offset points",
        ha="center",
        va="top" if below else "bottom",
        color=light("muted"),
        fontsize=8,
    )


def draw_confusion(axes: Axes, counts_CC: Integers, class_names: Sequence[str]) -> None:
    """Rows: labels; columns: predictions; shade: square root of the share of the label's images.

    Right answers and mistakes have a colour each; the root lets one per cent be seen.
    """
    size = len(class_names)
    shares_CC = counts_CC / np.maximum(counts_CC.sum(axis=1, keepdims=True), 1)
    shades_CC = np.ceil(np.sqrt(shares_CC) * SHADES).astype(int)
    diagonal_CC = np.eye(size, dtype=bool)
    for ink, where_CC in (("right", diagonal_CC), ("wrong", ~diagonal_CC)):
        for shade in np.unique(shades_CC[where_CC & (shades_CC > 0)]):
            cells = np.argwhere(where_CC & (shades_CC == shade))
            axes.add_patch(_cells(cells, ink, float(shade) / SHADES))
    axes.set_xlim(0, size)
    axes.set_ylim(size, 0)
    axes.set_aspect("equal")
    for spine in axes.spines.values():
        spine.set_visible(True)
    axes.tick_params(length=0)
    room = confusion_frame(class_names)
    _name_side(axes, "prediction", (0.5, -room.bottom / (room.height - room.bottom - room.top)))
    _name_side(axes, "label", (-room.left / (room.width - room.left - room.right), 0.5))
    if size > NAMED_CLASSES:
        axes.set_xticks([])
        axes.set_yticks([])
        return
    names = [shortened(name, NAME_LETTERS) for name in class_names]
    axes.set_xticks(np.arange(size) + 0.5, names, rotation=90)
    axes.set_yticks(np.arange(size) + 0.5, names)
    for i, j in np.argwhere(counts_CC > 0):
        dark = math.sqrt(shares_CC[i, j]) > 0.62
        axes.text(
            j + 0.5,
            i + 0.5,
            str(counts_CC[i, j]),
            ha="center",
            va="center",
            fontsize=_cell_font(size),
            color=light("paper" if dark else "ink"),
        )


def _name_side(axes: Axes, text: str, place: tuple[float, float]) -> None:
    """An axis' name at the outer edge of the frame, wherever the tick names end."""
    upright = place[0] < 0
    axes.text(
        *place,
        text,
        transform=axes.transAxes,
        rotation=90 if upright else 0,
        ha="left" if upright else "center",
        va="center" if upright else "bottom",
        color=light("muted"),
    )


def _cells(cells: Integers, ink: str, opacity: float) -> PathPatch:
    squares = [
        Outline(
            [(j, i), (j + 1, i), (j + 1, i + 1), (j, i + 1), (j, i)],
            [Outline.MOVETO, Outline.LINETO, Outline.LINETO, Outline.LINETO, Outline.CLOSEPOLY],
        )
        for i, j in cells
    ]
    outline = Outline.make_compound_path(*squares)
    return PathPatch(outline, facecolor=light(ink), alpha=opacity, linewidth=0)


def _cell_font(size: int) -> float:
    return 8.5 if size <= 10 else 8.5 * 10 / size + 0.9


def confusion_frame(class_names: Sequence[str]) -> Frame:
    """A frame that gives each named cell room for its number, and each name room beside it."""
    size = len(class_names)
    if size > NAMED_CLASSES:
        return Frame(5.2, 5.2, left=0.25, right=0.05, bottom=0.25, top=0.05)
    side = min(6.6, max(1.8, 0.34 * size))
    names = 0.1 + 0.06 * max(display_width(shortened(name, NAME_LETTERS)) for name in class_names)
    room = names + 0.22
    whole = side + room + 0.05
    return Frame(whole, whole, left=room, right=0.05, bottom=room, top=0.05)


def draw_projection(axes: Axes, points_N2: Floats, labels_N: Integers, key: Sequence[int]) -> None:
    """Each image a point; the classes in `key` have a colour and a shape, the others are grey.

    Drawn in the order of the points, in slices, so that no class covers another as a whole.
    """
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    others = ~np.isin(labels_N, key)
    if others.any():
        _dots(axes, points_N2[others], light("other"), "o", "points-other")
    for slice_N in np.array_split(np.arange(len(labels_N)), 4):
        for position, label in enumerate(key):
            rows = slice_N[labels_N[slice_N] == label]
            if len(rows):
                colour, marker = class_colour(position), class_marker(position)
                _dots(axes, points_N2[rows], colour, marker, f"points-{position}")
    axes.margins(0.03)


def _dots(axes: Axes, points_N2: Floats, colour: str, marker: str, group: str) -> None:
    axes.plot(
        points_N2[:, 0],
        points_N2[:, 1],
        linestyle="none",
        marker=marker,
        markersize=3.4 if marker == "o" else 3.6,
        markeredgewidth=0,
        color=colour,
        gid=group,
    )


def add_key(figure: Figure, names: Sequence[str]) -> None:
    """Names the colours and shapes of `draw_projection` below the panels. For the PNG files."""
    handles = [
        Line2D([], [], linestyle="none", marker=class_marker(i), color=class_colour(i), label=name)
        for i, name in enumerate(names)
    ]
    figure.legend(handles=handles, loc="lower left", ncols=5, frameon=False)


def contact_sheet(rows: Sequence[Sequence[Image8]], *, cell: int = 96) -> Image.Image:
    """Images in a grid on a transparent ground: each row an original, then its views.

    Args:
        rows: uint8 images (H, W, 3), any size, at least one row; rows may differ in length.
        cell: side of the square that each image is fitted into, in pixels.
    """
    step = cell + SHEET_GAP
    columns = max(map(len, rows))
    after_original = SHEET_GAP if columns > 1 else 0  # it stands apart from its views
    size = (columns * step + after_original - SHEET_GAP, len(rows) * step - SHEET_GAP)
    sheet = Image.new("RGBA", size, (0, 0, 0, 0))
    for line, row in enumerate(rows):
        for column, image in enumerate(row):
            tile = _fitted(image, cell)
            left = column * step + (after_original if column else 0)
            sheet.paste(
                tile, (left + (cell - tile.width) // 2, line * step + (cell - tile.height) // 2)
            )
    return sheet


def _fitted(image_HW3: Image8, cell: int) -> Image.Image:
    """Shrunk smoothly or enlarged without smoothing, so that its pixels can be seen."""
    picture = Image.fromarray(image_HW3)
    scale = cell / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)
