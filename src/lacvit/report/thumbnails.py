"""Small pictures for the page: read by path, shrunk, inlined."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from lacvit.data.readers import read_data
from lacvit.errors import InputError, LacvitError

Image8 = npt.NDArray[np.uint8]
Thumbnails = Callable[[Sequence[str]], list[Image8]]

SIDE = 160
SHEET_WIDTH = 1_600


def from_data(root: Path) -> Thumbnails:
    """Reads images of the data at `root` by the path that the run knows them by."""

    def read(paths: Sequence[str]) -> list[Image8]:
        found: dict[str, Image8] = {}
        wanted = set(paths)
        by_split = read_data(root)
        # A Parquet row's name can stand in two splits; the test split's own is meant.
        for name in sorted(by_split, key=lambda split: split != "test"):
            records = by_split[name]
            for position, path in enumerate(records.paths):
                if path in wanted and path not in found:
                    found[path] = records.read(position)
        missing = [path for path in paths if path not in found]
        if missing:
            raise InputError(f"{root} has no image {missing[0]} any more")
        return [found[path] for path in paths]

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


def _uri(picture: Image.Image, kind: str) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, quality=85)
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{kind.lower()};base64,{text}"
