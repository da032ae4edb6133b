"""The figures of a report: each `draw_*` fills one matplotlib axes, whatever it ends up in.

On the page every panel is an SVG of its own, so that a phone can stack them; in the PNG files
the panels of a figure stand side by side.

Shape letters: N images, C classes, H height, W width, 2 plane.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.ticker import MaxNLocator
from PIL import Image

from lacvit.report.record import Floats, Integers
from lacvit.report.theme import class_colour, class_marker, light, new_figure
from lacvit.report.words import shortened

Draw = Callable[[Axes], None]
Image8 = npt.NDArray[np.uint8]

PANEL_INCHES = (3.5, 2.3)
NAMED_CLASSES = 30  # above it a confusion matrix has no room for names and numbers
SHADES = 24
COLOURED_CLASSES = 10
PICTURES_A_LINE = 8
PICTURE = (1.12, 1.46)  # of a picture of side 1 with its caption and the gap to the next


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
        axes.set_xticks(x, [f"{value:g}" for value in x])
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
    for position, (name, value) in enumerate((curve.marks or {}).items()):
        axes.axhline(value, color=light("muted"), linewidth=0.9, linestyle=(0, (4, 3)))
        _tag(axes, value, name, below=position > 0)
    place = seen.nonzero()[0].tolist().index(curve.best) if curve.best is not None else len(y) - 1
    _point_out(axes, (float(x[place]), float(y[place])), curve.percent, at_end=place == len(y) - 1)


def _point_out(axes: Axes, place: tuple[float, float], percent: bool, *, at_end: bool) -> None:
    text = f"{100 * place[1]:.1f} %" if percent else f"{place[1]:.3g}"
    axes.plot(*place, color=light("right"), marker="o", markersize=5)
    axes.annotate(
        text,
        place,
        xytext=(3 if at_end else 0, 6),
        textcoords="offset points",
        ha="right" if at_end else "center",
        fontweight="bold",
    )


def _tag(axes: Axes, value: float, text: str, *, below: bool) -> None:
    axes.annotate(
        text,
        (0.0, value),
        xycoords=("axes fraction", "data"),
        xytext=(2, -3 if below else 3),
        textcoords="offset points",
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
    axes.set_xlabel("prediction")
    axes.set_ylabel("label")
    for spine in axes.spines.values():
        spine.set_visible(True)
    axes.tick_params(length=0)
    if size > NAMED_CLASSES:
        axes.set_xticks([])
        axes.set_yticks([])
        return
    names = [shortened(name, 16) for name in class_names]
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


def confusion_inches(class_names: Sequence[str]) -> tuple[float, float]:
    """Width and height that give each named cell room for its number."""
    size = len(class_names)
    if size > NAMED_CLASSES:
        return 5.2, 5.2
    side = min(7.2, max(2.4, 0.34 * size)) + 0.09 * min(16, max(map(len, class_names))) + 0.5
    return side, side


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


def draw_pictures(axes: Axes, images: Sequence[Image8], captions: Sequence[str]) -> None:
    """A grid of pictures, each with its caption of two lines below."""
    width, height = PICTURE
    for number, (image, caption) in enumerate(zip(images, captions, strict=True)):
        line, column = divmod(number, PICTURES_A_LINE)
        tall, wide = (side / max(image.shape[:2]) for side in image.shape[:2])
        left, top = column * width, line * height
        extent = (
            left + (1 - wide) / 2,
            left + (1 + wide) / 2,
            top + (1 + tall) / 2,
            top + (1 - tall) / 2,
        )
        axes.imshow(image, extent=extent, interpolation="none")
        axes.text(left, top + 1.06, caption, va="top", fontsize=7)
    columns = min(len(images), PICTURES_A_LINE)
    lines = math.ceil(len(images) / PICTURES_A_LINE)
    axes.set_xlim(-0.1, columns * width)
    axes.set_ylim(lines * height, -0.1)
    axes.set_axis_off()


def pictures_inches(count: int) -> tuple[float, float]:
    """The figure that `draw_pictures` fills."""
    columns, lines = min(count, PICTURES_A_LINE), math.ceil(count / PICTURES_A_LINE)
    return 1.2 * (columns * PICTURE[0] + 0.1), 1.2 * (lines * PICTURE[1] + 0.1)


def single(draw: Draw, inches: tuple[float, float], *, tight: bool = False) -> Figure:
    """One panel as a figure of its own. Call under `theme.drawing`."""
    figure = new_figure(*inches, tight=tight)
    draw(figure.add_subplot())
    return figure


def side_by_side(rows: Sequence[Sequence[Draw]], inches: tuple[float, float]) -> Figure:
    """All panels in one figure, a list a row. Call under `theme.drawing`."""
    columns = max(map(len, rows))
    figure = new_figure(inches[0] * columns, inches[1] * len(rows))
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for row, axes_row in zip(rows, grid, strict=True):
        for position, axes in enumerate(axes_row):
            if position < len(row):
                row[position](axes)
            else:
                axes.set_axis_off()
    return figure


def contact_sheet(
    rows: Sequence[Sequence[Image8]], *, cell: int = 96, gap: int = 6, blocks: int | None = None
) -> Image.Image:
    """Images in a grid on a transparent ground: each row an original, then its views.

    Args:
        rows: uint8 images (H, W, 3), any size, at least one row; rows may differ in length.
        cell: side of the square that each image is fitted into, in pixels.
        gap: between neighbours; the gap after an original is twice as wide.
        blocks: how many rows stand side by side; by default two once there are four short rows.
    """
    columns = max(map(len, rows))
    blocks = blocks or (2 if len(rows) >= 4 and columns <= 3 else 1)
    step = cell + gap
    block_width = columns * step + (gap if columns > 1 else 0)
    lines = math.ceil(len(rows) / blocks)
    width = blocks * block_width + (blocks - 1) * 3 * gap - gap
    sheet = Image.new("RGBA", (width, lines * step - gap), (0, 0, 0, 0))
    for number, row in enumerate(rows):
        block, line = divmod(number, lines)
        for column, image in enumerate(row):
            tile = _fitted(image, cell)
            left = block * (block_width + 3 * gap) + column * step + (gap if column else 0)
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
