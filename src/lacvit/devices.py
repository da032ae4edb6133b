"""Which device, and at which precision."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import torch
from threadpoolctl import threadpool_limits

from lacvit.errors import InputError

Precision = Literal["fp32", "bf16"]
# A head on 1,797 x 128 on two cores: 0.9 s by one thread, 7.6 s by two, which wait for one another.
ONE_THREAD_BELOW = 2**22


def threads_for(elements: int) -> AbstractContextManager[object]:
    """As many threads for NumPy and SciPy as arrays of so many elements are worth."""
    limits: AbstractContextManager[object] = threadpool_limits(
        1 if elements < ONE_THREAD_BELOW else None
    )
    return limits


def find_device(name: str) -> torch.device:
    """The device called ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        InputError: this machine has none such.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    here = ["auto", "cpu", *([f"cuda:{i}" for i in range(torch.cuda.device_count())])]
    here += ["mps"] if mps else []
    usable = {
        "cpu": True,
        "cuda": cuda and (device.index or 0) < torch.cuda.device_count(),
        "mps": mps,
    }
    if not usable.get(device.type, False):
        raise InputError(
            f"There is no device {name!r} here. This machine has: {', '.join(here)}. "
            f"Choose one with --device."
        )
    return device


def accelerator_gigabytes(device: str) -> float:
    """Memory of the device that a run would train on; 0 for a processor."""
    found = find_device(device)
    if found.type == "cuda":
        return float(torch.cuda.get_device_properties(found).total_memory / 1e9)
    if found.type == "mps":
        return float(torch.mps.recommended_max_memory() / 1e9)
    return 0.0


def own_device(name: str) -> torch.device:
    """The device by its number: a new thread's "cuda" is the first, whatever this process has."""
    device = torch.device(name)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """The context in which an encoder runs at ``precision``."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def memory_told() -> Iterator[None]:
    """An accelerator's memory that does not suffice is told of with what to do about it.

    Raises:
        InputError: in place of ``torch.OutOfMemoryError``.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise InputError(memory_advice(error)) from error


def memory_advice(error: BaseException) -> str:
    """What to do where ``torch.OutOfMemoryError`` was raised."""
    return (
        f"The device's memory does not suffice ({str(error).partition('. ')[0]}). Use a smaller "
        f"--batch-size, --set backbone.gradient_checkpointing=true or --trainable lora; with a "
        f"method that contrasts, --set contrastive.micro_batch=16 or joint.micro_batch=16, as its "
        f"stage is called; if it was no training step, --set evaluation.batch_size=32."
    )


def wait_for(device: torch.device) -> None:
    """Until all that was asked of ``device`` is done: timings are wrong without."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def faster_precision(
    step: Callable[[], object], device: torch.device
) -> tuple[Precision, dict[Precision, float]]:
    """Whether ``step`` runs faster in bfloat16 than in float32 on this device, by measurement.

    Processors differ in sign here (twice as fast on one, half as fast on another), so nothing is
    assumed. bfloat16 has to win clearly, since it costs digits.

    Returns:
        The precision to use, and the median seconds of each.
    """
    seconds: dict[Precision, float] = {}
    options: tuple[Precision, ...] = ("fp32", "bf16")
    for precision in options:
        times: list[float] = []
        # The first call warms up; a precision that is hopeless by then is not waited for.
        while len(times) < 4 and not (times and times[0] > 5 * seconds.get("fp32", math.inf)):
            started = time.perf_counter()
            with autocast(device, precision):
                step()
            wait_for(device)
            times.append(time.perf_counter() - started)
        seconds[precision] = statistics.median(times[1:] or times)
    return ("bf16" if seconds["bf16"] < 0.8 * seconds["fp32"] else "fp32"), seconds
