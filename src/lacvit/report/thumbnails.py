"""Small pictures: read by path, shrunk and inlined for the page, set in a grid for the PNG file."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from PIL import Image

from lacvit.data.readers import read_data
from lacvit.data.records import ImageRecords
from lacvit.errors import InputError, LacvitError
from lacvit.report.frames import Frame

Image8 = npt.NDArray[np.uint8]
Thumbnails = Callable[[Sequence[str]], list[Image8]]

SIDE = 160
SHEET_WIDTH = 1_600
PICTURES_A_LINE = 8
PICTURE = (1.12, 1.46)  # of a picture of side 1 with its caption and the gap to the next


def from_data(root: str | Path, set_root: str | None = None) -> Thumbnails:
    """Reads images of the data at `root` (or of that name) by the path that the run knows."""

    @cache  # listing a large folder takes longer than reading a page's images of it
    def places() -> dict[str, tuple[ImageRecords, int]]:
        by_split = read_data(root, set_root)
        found: dict[str, tuple[ImageRecords, int]] = {}
        # A Parquet row's name can stand in two splits; the test split's own is meant.
        for name in sorted(by_split, key=lambda split: split != "test"):
            for position, path in enumerate(by_split[name].paths):
                found.setdefault(path, (by_split[name], position))
        return found

    def read(paths: Sequence[str]) -> list[Image8]:
        known = places()
        missing = [path for path in paths if path not in known]
        if missing:
            raise InputError(f"{root} has no image {missing[0]} any more")
        return [records.read(position) for records, position in map(known.__getitem__, paths)]

    return read


def read_or_reason(thumbnails: Thumbnails, paths: Sequence[str]) -> tuple[list[Image8], str]:
    """The images, or none and the reason why not: a report outlives its data."""
    try:
        return thumbnails(paths), ""
    except (LacvitError, OSError) as fault:
        return [], str(fault)


def inline(image_HW3: Image8) -> str:
    """A data URI: at most 160 pixels wide and high, lossless when it was that small already."""
    picture = Image.fromarray(image_HW3)
    if max(picture.size) <= SIDE:
        return _uri(picture, "PNG")
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return _uri(picture, "JPEG")


def inline_sheet(path: Path) -> tuple[str, int, int]:
    """The sheet of views as a data URI with its width and height."""
    with Image.open(path) as opened:
        picture = opened.convert("RGBA")
    if picture.width > SHEET_WIDTH:
        picture.thumbnail((SHEET_WIDTH, 4 * SHEET_WIDTH), Image.Resampling.LANCZOS)
    return _uri(picture, "WEBP"), picture.width, picture.height


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


def pictures_frame(count: int) -> Frame:
    """The frame that `draw_pictures` fills."""
    columns, lines = min(count, PICTURES_A_LINE), math.ceil(count / PICTURES_A_LINE)
    return Frame(1.2 * (columns * PICTURE[0] + 0.1), 1.2 * (lines * PICTURE[1] + 0.1))


def _uri(picture: Image.Image, kind: str) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, quality=85)
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{kind.lower()};base64,{text}"
