"""From a drawing to a panel of the page and to a PNG file beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from markupsafe import Markup
from matplotlib.axes import Axes

from lacvit.report import theme
from lacvit.report.frames import Draw, Frame, side_by_side, single
from lacvit.report.words import clean

TITLE_ROOM = 0.3  # inches above each panel of a PNG file; the page has its own titles


@dataclass(frozen=True)
class Panel:
    svg: Markup
    caption: str = ""


def titled(axes: Axes, draw: Draw, title: str) -> None:
    """The drawing under its title, for a PNG file."""
    draw(axes)
    axes.set_title(title, pad=8)


def with_title(frame: Frame, lines: int = 1) -> Frame:
    """The frame with room for a title."""
    room = lines * TITLE_ROOM
    return replace(frame, height=frame.height + room, top=frame.top + room)


def svg_of(draw: Draw, frame: Frame, name: str, words: str) -> Markup:
    """One panel for the page; `words` are for who cannot see it."""
    with theme.drawing():
        figure = single(draw, frame)
    return theme.svg(figure, name, clean(words))


def write_png(rows: Sequence[Sequence[Draw]], frame: Frame, path: Path) -> None:
    """All panels in one file, a list a row."""
    with theme.drawing():
        figure = side_by_side(rows, frame)
    theme.png(figure, path)
