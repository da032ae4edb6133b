"""Which images a command was given: files, folders and globs; and reading them."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lacvit.errors import InputError

if TYPE_CHECKING:
    from lacvit.model import ImageLike

CHUNK = 32  # images read at a time: photographs are large


def image_files(paths: Sequence[str]) -> list[str]:
    """What `expand` finds, of which something must be there.

    Raises:
        InputError: nothing is, or as `expand`.
    """
    files = list(expand(paths))
    if not any(map(os.path.lexists, files)):
        raise _nothing_at(files[0])
    return files


def expand(paths: Sequence[str]) -> Iterator[str]:
    """Image files for files, folders (searched through) and globs (of both), in order.

    Where there is nothing, the path itself: it is told with the files that cannot be read.

    Raises:
        InputError: a folder without images, or a name that is no text; it is named.
    """
    from lacvit.data.folders import check_name

    for path in paths:
        # A [ is a pattern's, or else of a folder that is so called.
        there = Path(path).exists()
        matches = [] if there else _matching(path) or _matching(path.replace("[", "[[]"))
        # ** finds a folder and what is in it; of a pattern's folders some may be without images.
        found = {Path(name): name for place in matches or [path] for name in _images_at(place)}
        if not found:
            raise _nothing_at(path)
        for name in found.values():
            check_name(name)
            yield name


def _images_at(place: str) -> list[str]:
    from lacvit.data.folders import images_below

    folder = Path(place)
    if not folder.is_dir():
        return [place]
    return sorted(str(folder / name) for name in images_below(folder))


def read_in_chunks(
    files: Sequence[str], unreadable: list[str]
) -> Iterator[tuple[list[str], list[ImageLike]]]:
    """Some paths and images at a time; what cannot be read is named, and goes to ``unreadable``."""
    from lacvit.data.decoding import UnreadableImageError
    from lacvit.model import read_image

    for start in range(0, len(files), CHUNK):
        paths: list[str] = []
        images: list[ImageLike] = []
        for path in files[start : start + CHUNK]:
            try:
                images.append(read_image(path))
                paths.append(path)
            except UnreadableImageError as error:
                print(f"lacvit: {error}", file=sys.stderr)
                unreadable.append(path)
        yield paths, images


def _nothing_at(path: str) -> InputError:
    return InputError(f"There is no image at {path}. Give image files, folders or globs.")


def _matching(pattern: str) -> list[str]:
    # Not Path.glob, which takes no absolute pattern and finds hidden files.
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207
