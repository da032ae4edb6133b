"""Every exchange between processes stands in this file; none of its calls warns on torch 2.13.

A group is a ``torch.distributed.ProcessGroup``; None means this process alone, whatever is
initialised. Shape letters: N rows of all processes, R of them this process's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed import ProcessGroup

from lacvit.errors import InputError

T = TypeVar("T")


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

    Where ``prepare`` raises `InputError` on any process, every process raises it, so that none
    waits for one that has gone. Descriptions are small and can be pickled.
    """
    own: T | None = None
    try:
        own = prepare()
        said: tuple[str | None, dict[str, Any]] = None, describe(own)
    except InputError as error:
        said = str(error), {}
    heard: list[tuple[str | None, dict[str, Any]]] = [said] * dist.get_world_size(group)
    dist.all_gather_object(heard, said, group=group)
    for rank, (fault, _) in enumerate(heard):
        if fault is not None:
            raise InputError(f"process {rank} of {len(heard)}: {fault}")
    assert own is not None
    return own, [description for _, description in heard]
