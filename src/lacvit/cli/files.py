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
    """Image files for files, folders (searched through) and globs, in order.

    Where there is nothing, the path itself: it is told with the files that cannot be read.

    Raises:
        InputError: a folder without images, or a name that is no text; it is named.
    """
    from lacvit.data.folders import check_name, images_below

    for path in paths:
        if Path(path).is_dir():
            found = sorted(str(Path(path) / name) for name in images_below(Path(path)))
            if not found:
                raise _nothing_at(path)
        elif Path(path).exists():
            found = [path]
        else:
            # A [ is a pattern's, or else of a folder that is so called.
            found = _matching(path) or _matching(path.replace("[", "[[]")) or [path]
        for name in found:
            check_name(name)
            yield name


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
