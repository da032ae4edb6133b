"""Many small pictures in one: a sheet of square tiles as a data URI, no larger than agreed.

A data URI a picture would cost a header and an element each; thousands of tiles of one sheet cost
neither.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from lacvit.errors import LacvitError
from lacvit.report.thumbnails import Image8, Thumbnails

CHUNK = 64  # images held at full size at once
LOSSLESS = 1_000_000  # pixels; above it a lossless try costs seconds and would be too large
QUALITIES = (90, 75, 55, 35)


@dataclass(frozen=True)
class Sheet:
    """Tiles in rows, the first at the top left; ``pixels`` says that they are not shrunk."""

    uri: str
    columns: int
    rows: int
    pixels: bool

    def place(self, number: int) -> str:
        """The CSS position of a tile, for a box of any size."""
        row, column = divmod(number, self.columns)
        x, y = (
            f"{100 * at / max(count - 1, 1):.4g}%"
            for at, count in ((column, self.columns), (row, self.rows))
        )
        return f"{x} {y}"

    def style(self, number: int) -> str:
        """The CSS of a box that shows this tile of the sheet."""
        size = f"{100 * self.columns}% {100 * self.rows}%"
        return f"background-position:{self.place(number)};background-size:{size}"


@dataclass(frozen=True)
class Tiles:
    """Pictures of one size; none, and the reason, where they cannot be read."""

    pictures: tuple[Image.Image, ...]
    pixels: bool
    missing: str = ""


def read_tiles(thumbnails: Thumbnails, paths: Sequence[str], side: int) -> Tiles:
    """A tile a path, at most ``side`` wide and high; small images keep their own size."""
    pictures: list[Image.Image] = []
    largest = 0
    try:
        for start in range(0, len(paths), CHUNK):
            images = thumbnails(paths[start : start + CHUNK])
            largest = largest or max(max(image.shape[:2]) for image in images)
            pictures += [_tile(image, min(side, largest)) for image in images]
    except (LacvitError, OSError) as fault:
        return Tiles((), False, str(fault))
    return Tiles(tuple(pictures), largest <= side)


def sheet(tiles: Tiles, limit: int) -> Sheet | None:
    """All tiles as one WebP picture of at most ``limit`` bytes; None of no tiles.

    The best quality that fits is taken; where none does, the tiles are halved.
    """
    if not tiles.pictures:
        return None
    side = tiles.pictures[0].width
    columns = math.ceil(math.sqrt(len(tiles.pictures)))
    rows = math.ceil(len(tiles.pictures) / columns)
    whole = Image.new("RGBA", (columns * side, rows * side))
    for number, picture in enumerate(tiles.pictures):
        row, column = divmod(number, columns)
        whole.paste(picture, (column * side, row * side))
    data = _encoded(whole, limit)
    text = base64.b64encode(data).decode("ascii")
    return Sheet(f"data:image/webp;base64,{text}", columns, rows, tiles.pixels)


def _encoded(whole: Image.Image, limit: int) -> bytes:
    if whole.getchannel("A").getextrema() == (255, 255):
        whole = whole.convert("RGB")
    while True:
        if whole.width * whole.height <= LOSSLESS:
            data = _webp(whole, lossless=True)
            if len(data) <= limit:
                return data
        for quality in QUALITIES:
            data = _webp(whole, quality=quality)
            if len(data) <= limit:
                return data
        if min(whole.size) < 2:
            return data
        whole = whole.resize((whole.width // 2, whole.height // 2), Image.Resampling.BOX)


def _webp(picture: Image.Image, **how: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", method=2, **how)
    return buffer.getvalue()


def _tile(image_HW3: Image8, side: int) -> Image.Image:
    """The image in the middle of a transparent square of that side."""
    picture = Image.fromarray(image_HW3)
    if max(picture.size) > side:
        picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    square = Image.new("RGBA", (side, side))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square
