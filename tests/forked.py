"""Several processes of one test: forked, so that nothing is imported again, and joined by gloo."""

import multiprocessing
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed


def launch(
    size: int, folder: Path, work: Callable[[int], Any], *, patience: int = 240
) -> list[Any]:
    """What ``work(rank)`` gives in each of ``size`` processes; fails with their tracebacks."""
    context = multiprocessing.get_context("fork")
    with warnings.catch_warnings():
        # Threads of the test runner do not survive the fork, and are not missed.
        warnings.filterwarnings("ignore", ".*fork.*", DeprecationWarning)
        processes = [
            context.Process(target=_run, args=(rank, size, folder, work)) for rank in range(size)
        ]
        for process in processes:
            process.start()
    for process in processes:
        process.join(patience)
    late = [process for process in processes if process.is_alive()]
    for process in late:
        process.kill()
        process.join()
    faults = [path.read_text() for path in sorted(folder.glob("fault-*"))]
    assert not faults, "\n".join(faults)
    assert not late, f"{len(late)} of {size} processes were not done after {patience} s"
    return [torch.load(folder / f"result-{rank}", weights_only=False) for rank in range(size)]


def _run(rank: int, size: int, folder: Path, work: Callable[[int], Any]) -> None:
    try:
        distributed.init_process_group(
            "gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=size
        )
        torch.save(work(rank), folder / f"result-{rank}")
        distributed.barrier()
        distributed.destroy_process_group()
    except BaseException:
        (folder / f"fault-{rank}").write_text(f"process {rank}: {traceback.format_exc()}")
        raise
