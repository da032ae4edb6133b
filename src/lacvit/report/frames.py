"""Where axes stand in a figure: fixed, in inches.

Panels of one kind align with each other, and no layout has to be solved, which would take as
long as the drawing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

Draw = Callable[[Axes], None]


@dataclass(frozen=True)
class Frame:
    """A panel's size, and the room on each side of its axes for ticks, names and a title."""

    width: float
    height: float
    left: float = 0.0
    right: float = 0.0
    bottom: float = 0.0
    top: float = 0.0


def single(draw: Draw, frame: Frame) -> Figure:
    """One panel as a figure of its own. Call under `theme.drawing`."""
    return side_by_side([[draw]], frame)


def side_by_side(rows: Sequence[Sequence[Draw]], frame: Frame, *, foot: float = 0.0) -> Figure:
    """All panels in one figure, a list a row, `foot` inches free below. Call under `drawing`."""
    width = frame.width * max(map(len, rows))
    height = frame.height * len(rows) + foot
    figure = Figure(figsize=(width, height))
    wide = (frame.width - frame.left - frame.right) / width
    tall = (frame.height - frame.bottom - frame.top) / height
    for line, row in enumerate(rows):
        bottom = (foot + frame.height * (len(rows) - 1 - line) + frame.bottom) / height
        for column, draw in enumerate(row):
            left = (frame.width * column + frame.left) / width
            draw(figure.add_axes((left, bottom, wide, tall)))
    return figure
