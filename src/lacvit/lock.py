"""One process at a time in a run folder: two that train there would spoil each other's files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lacvit.errors import InputError

LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which ends with the process, however that ends.

    Where the system or the file system has no such locks, nothing is held.

    Raises:
        InputError: another process holds it, or the folder cannot be written.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl  # not there on Windows

    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written: {error.strerror}. Choose another folder with --output."
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise InputError(
            f"Another process is at work in {folder}. Wait for it or stop it, or choose another "
            f"folder with --output."
        ) from None
    except OSError:  # some network file systems
        pass
    try:
        yield
    finally:
        os.close(handle)
