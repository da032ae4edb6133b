"""Images that cannot be read: found before training starts, named, and left out or refused."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lacvit.data.records import ImageRecords, RememberedSource, UnreadableImageError, some_of
from lacvit.errors import InputError

# Up to this share of unreadable images is skipped; beyond it something else is wrong.
MOST_UNREADABLE = 0.01

AT_A_TIME = 1024  # images handed to the threads at once
# Decoded pixels that are remembered: 43,000 images of 32 pixels, 890 of 224.
REMEMBERED_BYTES = 128 << 20


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with one image, and what happens to it in training."""

    kind: str
    path: str
    action: str
    reason: str
    split: str | None = None
    of: str | None = None  # the image that a duplicate repeats


def find_unreadable(
    records: ImageRecords, workers: int = 1, *, remembered_bytes: int = REMEMBERED_BYTES
) -> tuple[list[Fault], ImageRecords]:
    """Decode every image and tell which cannot be, in the order of the records.

    Also gives the same records, which remember as many of the decoded images as fit into
    ``remembered_bytes``: a small set is decoded once, here, and read from memory ever after.
    """

    def decode(index: int) -> npt.NDArray[np.uint8] | Fault:
        try:
            return records.read(index)
        except UnreadableImageError as error:
            return Fault("unreadable", records.paths[index], "skipped", error.reason)

    faults: list[Fault] = []
    remembered: list[npt.NDArray[np.uint8] | None] = []
    used = 0
    with ThreadPoolExecutor(max_workers=max(workers, 1)) as pool:
        for start in range(0, len(records), AT_A_TIME):
            part = range(start, min(start + AT_A_TIME, len(records)))
            for found in pool.map(decode, part):
                if isinstance(found, Fault):
                    faults.append(found)
                    remembered.append(None)
                    continue
                used += found.nbytes
                remembered.append(found if used <= remembered_bytes else None)
    source = RememberedSource(records.source, tuple(remembered))
    return faults, replace(records, source=source)


def too_many(unreadable: int, images: int) -> bool:
    """Whether so many unreadable images are not skipped, but refused."""
    return unreadable > MOST_UNREADABLE * images


def drop_unreadable(records: ImageRecords, faults: Sequence[Fault], strict: bool) -> ImageRecords:
    """The records without the unreadable ones.

    Raises:
        InputError: some are unreadable and ``strict`` holds, or more than 1 % are.
    """
    if not faults:
        return records
    named = some_of([f"{fault.path} ({fault.reason})" for fault in faults])
    count = f"{len(faults)} of {len(records)} images cannot be read: {named}"
    if strict:
        raise InputError(f"{count}. --strict refuses any. Replace or remove them.")
    if too_many(len(faults), len(records)):
        raise InputError(
            f"{count}. At most {MOST_UNREADABLE:.0%} are skipped. Replace or remove them."
        )
    bad = {fault.path for fault in faults}
    return records.select(np.array([i for i, p in enumerate(records.paths) if p not in bad]))
