"""Every exchange between processes stands in this file; none of its calls warns on torch 2.13.

A group is a ``torch.distributed.ProcessGroup``; None means this process alone, whatever is
initialised, and then nothing is exchanged. ``start`` joins the processes that ``torchrun`` or
``accelerate launch`` started for one run; the first of a group speaks and writes for all.
Shape letters: N rows of all processes, R of them this process's, D columns.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed import ProcessGroup

from lacvit.errors import Diverged, InputError, PeerStopped, RunStopped

Group = ProcessGroup | None
T = TypeVar("T")

# One process may solve a head or write a report for long while the others wait; that a process is
# dead is for the launcher to notice, which then ends them all.
PATIENCE = timedelta(days=1)


@dataclass(frozen=True)
class Block:
    """Which of the N rows are this process's, and with whom it shares them."""

    rank: int
    sizes: tuple[int, ...]
    """Rows of each process, in the order of ranks; any may be 0."""
    group: ProcessGroup | None

    @property
    def rows(self) -> slice:
        """This process's rows among the N."""
        first = sum(self.sizes[: self.rank])
        return slice(first, first + self.sizes[self.rank])

    def gather(self, own_R: Tensor) -> Tensor:
        """The rows of every process, (N, ...), without a graph; every process must call."""
        own_R = own_R.detach()
        if self.group is None:
            return own_R
        # Collectives want equal shapes: shorter blocks travel padded to the longest.
        longest = max(self.sizes)
        padded_WR = own_R.new_empty(len(self.sizes), longest, *own_R.shape[1:])
        if longest == 0:
            return padded_WR[0]
        sent_R = own_R.contiguous()
        if len(own_R) < longest:
            sent_R = own_R.new_zeros(padded_WR.shape[1:])
            sent_R[: len(own_R)] = own_R
        dist.all_gather(list(padded_WR.unbind()), sent_R, group=self.group)
        if min(self.sizes) == longest:
            return padded_WR.flatten(0, 1)
        return torch.cat([padded_WR[rank, :size] for rank, size in enumerate(self.sizes)])


def alone(n_rows: int) -> Block:
    """The block of a process that shares its rows with nobody."""
    return Block(0, (n_rows,), None)


def rank_in(group: ProcessGroup) -> int:
    """This process's rank in the group.

    Raises:
        InputError: it is no member of the group.
    """
    rank = dist.get_rank(group)
    if rank < 0:
        raise InputError(
            "this process is no member of the process group that it was given; "
            "call with a group that it belongs to, or with group=None for this process alone."
        )
    return rank


def prepare_together(
    prepare: Callable[[], T], describe: Callable[[T], dict[str, Any]], group: ProcessGroup
) -> tuple[T, list[dict[str, Any]]]:
    """This process's ``prepare()``, and every process's description of its own.

    Where ``prepare`` raises on one process, every process raises `InputError`, or `Diverged` where
    it was that (that one what it was, if it was another), so that none waits for one that has
    gone. Descriptions are small and can be pickled.
    """
    own: T | None = None
    error: BaseException | None = None
    try:
        own = prepare()
        said: tuple[str | None, dict[str, Any]] = None, describe(own)
    except (Exception, RunStopped) as caught:  # raised below, when the others have heard of it
        error, said = caught, (str(caught), {"diverged": isinstance(caught, Diverged)})
    heard: list[tuple[str | None, dict[str, Any]]] = [said] * dist.get_world_size(group)
    dist.all_gather_object(heard, said, group=group)
    if error is not None and not isinstance(error, InputError):
        raise error
    for rank, (fault, description) in enumerate(heard):
        if fault is not None:
            kind = Diverged if description["diverged"] else InputError
            raise kind(f"process {rank} of {len(heard)}: {fault}") from error
    assert own is not None
    return own, [description for _, description in heard]


def launched() -> int:
    """Number of processes that a launcher started, this one among them; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def start(device: str) -> tuple[Group, str]:
    """Join the processes that a launcher started; gives their group and each one's device.

    A process that no launcher started is alone, and its device is as it was asked for.

    Raises:
        InputError: the device is one that the processes cannot share.
    """
    world_size = launched()
    if world_size == 1:
        return None, device
    kind = "cpu" if device == "cpu" or not torch.cuda.is_available() else "cuda"
    if device not in ("auto", kind):
        raise InputError(
            f"--device {device} is one device, and there are {world_size} processes. Use --device "
            f"cpu{', or cuda, where each takes its own GPU' if kind == 'cuda' else ''}."
        )
    local = int(os.environ.get("LOCAL_WORLD_SIZE", world_size))
    if kind == "cuda" and local > torch.cuda.device_count():
        raise InputError(
            f"{local} processes were started on a machine with {torch.cuda.device_count()} GPU(s). "
            f"Start one a GPU, or use --device cpu."
        )
    if kind == "cuda" and "LOCAL_RANK" not in os.environ:
        raise InputError(
            "WORLD_SIZE is set and LOCAL_RANK is not, which says whose GPU is whose. Start the "
            "processes by torchrun or accelerate launch, or unset WORLD_SIZE."
        )
    from accelerate import PartialState  # here, since a process alone need not wait for it

    # On GPUs, what stands in main memory (features, messages) goes by gloo.
    how = {"backend": "cuda:nccl,cpu:gloo"} if kind == "cuda" else {}
    state = PartialState(cpu=kind == "cpu", timeout=PATIENCE, **how)
    atexit.register(state.destroy_process_group)
    return dist.group.WORLD, kind


def rank_of(group: Group) -> int:
    """This process's number in the group."""
    return 0 if group is None else dist.get_rank(group)


def size_of(group: Group) -> int:
    """Number of processes."""
    return 1 if group is None else dist.get_world_size(group)


def together(work: Callable[[], T], group: Group) -> T:
    """``work()`` on every process; if it fails on one, it fails on all.

    Raises:
        PeerStopped: another process failed. The first that failed raises what it met, so that
            what all of them met is told once.
    """
    if group is None:
        return work()
    value, error = None, None
    try:
        value = work()
    except (Exception, RunStopped) as caught:  # raised below, when the others have heard of it
        error = caught
    said: list[str | None] = [None] * size_of(group)
    dist.all_gather_object(said, None if error is None else str(error), group=group)
    for rank, text in enumerate(said):
        if error is not None and rank == rank_of(group):
            raise error
        if text is not None:
            raise PeerStopped(f"Process {rank} of this run stopped: {text}") from error
    return cast(T, value)


def from_main(work: Callable[[], T], group: Group) -> T:
    """``work()`` done by process 0, and its result on every process.

    Raises:
        PeerStopped: it failed there; process 0 raises what it was.
    """
    if group is None:
        return work()
    main = rank_of(group) == 0
    result = [together(lambda: work() if main else None, group)]
    dist.broadcast_object_list(result, src=dist.get_global_rank(group, 0), group=group)
    return cast(T, result[0])


def average_gradients_(parameters: Iterable[nn.Parameter], group: Group) -> None:
    """Give every process the mean over all of them of each parameter's gradient.

    A gradient that is missing (no row of the batch fell to this process) counts as zero; one
    that is missing everywhere stays so. One all-reduce for each dtype.
    """
    if group is None:
        return
    by_dtype: dict[torch.dtype, list[nn.Parameter]] = {}
    for parameter in parameters:
        by_dtype.setdefault(parameter.dtype, []).append(parameter)
    for members in by_dtype.values():
        there = members[0].new_tensor([float(p.grad is not None) for p in members])
        gradients = [
            p.new_zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in members
        ]
        flat = torch.cat([*gradients, there])
        dist.all_reduce(flat, group=group)
        *sums, there = flat.split([*(p.numel() for p in members), len(members)])
        for parameter, total, count in zip(members, sums, there.tolist(), strict=True):
            if count > 0:
                parameter.grad = total.view_as(parameter) / size_of(group)


def mean_figures(figures: Mapping[str, float], group: Group) -> dict[str, float]:
    """The mean over the processes of each figure; all of them give the same names."""
    if group is None:
        return dict(figures)
    values = torch.tensor(list(figures.values()), dtype=torch.float64)
    dist.all_reduce(values, group=group)
    return dict(zip(figures, (values / size_of(group)).tolist(), strict=True))


def gather_rows(rows_RD: np.ndarray, group: Group) -> np.ndarray:
    """The rows of all processes (N, ...), one process's after another's; R may be any number."""
    if group is None:
        return rows_RD
    sizes: list[int] = [0] * size_of(group)
    dist.all_gather_object(sizes, len(rows_RD), group=group)
    block = Block(rank_of(group), tuple(sizes), group)
    gathered: np.ndarray = block.gather(torch.from_numpy(np.ascontiguousarray(rows_RD))).numpy()
    return gathered
