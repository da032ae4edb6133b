"""Ctrl-C and SIGTERM, as something that a run can raise."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from lacvit.errors import RunStopped

# What signals raised in this command. A library may lose it on its way and fail otherwise: numpy,
# interrupted in its import, recurses until it may not.
_raised: list[RunStopped] = []


@contextmanager
def stop_on_ctrl_c() -> Iterator[list[RunStopped]]:
    """Turn Ctrl-C into :class:`RunStopped` for a whole command, and give what signals raised.

    Typer would end KeyboardInterrupt without a word. A shell's ``&`` ignores Ctrl-C, and so it
    stays.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        _raise("interrupted")

    _raised.clear()
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    usual &= threading.current_thread() is threading.main_thread()  # no other may set a handler
    if usual:
        signal.signal(signal.SIGINT, stop)
    try:
        yield _raised
    finally:
        if usual:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into :class:`RunStopped`, at any moment.

    Nothing more is needed: every file is written whole or not at all, and an epoch is a function
    of the checkpoint before it. A Ctrl-C that was lost in an import stops the run here.
    """
    if _raised:
        raise _raised[0]

    def stop(number: int, frame: FrameType | None) -> None:
        _raise(
            f"stopped by {signal.Signals(number).name}. Every epoch that was done is kept; the "
            f"same command goes on from there."
        )

    earlier = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except RunStopped:  # it was not lost
        _raised.clear()
        raise
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _raise(text: str) -> NoReturn:
    _raised.append(RunStopped(text))
    raise _raised[-1]
