"""Ctrl-C and SIGTERM, as something that a run can raise."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from lacvit.errors import RunStopped


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into :class:`RunStopped`, at any moment.

    Nothing more is needed: every file is written whole or not at all, and an epoch is a function
    of the checkpoint before it.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise RunStopped(
            f"stopped by {signal.Signals(number).name}. Every epoch that was done is kept; the "
            f"same command goes on from there."
        )

    earlier = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
