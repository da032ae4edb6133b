"""The batch that a loss is taken over: this process's rows, or those of every process of a group.

Shape letters: N rows of all processes, R of them this process's, D dimensions, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from lacvit.distributed import Block, alone, prepare_together, rank_in
from lacvit.errors import InputError


@dataclass(frozen=True)
class Batch:
    """What every process knows of all rows, after one exchange. No tensor has a graph."""

    z_ND: Tensor
    class_index_N: Tensor
    """int64, 0 to K-1."""
    class_counts_K: Tensor
    """int64, rows of each class."""
    n_anchors: int
    """Rows that share their class with another."""
    temperature: float
    operands: torch.dtype
    """Of the embeddings as they were given: products may be taken in it."""
    block: Block

    def with_graph(self, z_RD: Tensor) -> Tensor:
        """All rows, this process's with their graph."""
        if self.block.group is None:
            return z_RD
        own = self.block.rows
        return torch.cat([self.z_ND[: own.start], z_RD, self.z_ND[own.stop :]])


def meet(
    enter: Callable[[], tuple[Tensor, Tensor]],
    group: ProcessGroup | None,
    shared: dict[str, Any],
) -> tuple[Tensor, Tensor, Block]:
    """This process's rows and labels, and where they stand among those of the group.

    Args:
        enter: gives rows and labels, or raises `InputError`: then every process raises it.
        group: the processes that share the batch; None for this process alone.
        shared: what must be the same on every process, by name.
    """
    if group is None:
        z_RD, labels_R = enter()
        return z_RD, labels_R, alone(len(z_RD))
    rank = rank_in(group)

    def describe(own: tuple[Tensor, Tensor]) -> dict[str, Any]:
        z_RD = own[0]
        kind = {"dimensions": z_RD.shape[1], "dtype": z_RD.dtype, "device": z_RD.device.type}
        return {**shared, "rows": len(z_RD), **kind}

    (z_RD, labels_R), everyone = prepare_together(enter, describe, group)
    sizes = tuple(description.pop("rows") for description in everyone)
    _refuse_differences(everyone)
    return z_RD, labels_R, Block(rank, sizes, group)


def gather_batch(
    z_RD: Tensor, labels_R: Tensor, temperature: float, operands: torch.dtype, block: Block
) -> Batch:
    """The batch of all processes of the block's group; every one of them must call."""
    _, class_index_N, class_counts_K = torch.unique(
        block.gather(labels_R), return_inverse=True, return_counts=True
    )
    n_anchors = int((class_counts_K * (class_counts_K > 1)).sum())
    z_ND = block.gather(z_RD)
    return Batch(z_ND, class_index_N, class_counts_K, n_anchors, temperature, operands, block)


def averaged_later(loss: Tensor, block: Block) -> Tensor:
    """The same value, whose gradient is multiplied by the number of processes.

    Every process has the whole gradient of its own rows; averaging over the processes, which
    DistributedDataParallel does with the weights' gradients, then gives the single process's.
    """
    if block.group is None:
        return loss
    scaled: Tensor = _AveragedLater.apply(loss, len(block.sizes))  # type: ignore[no-untyped-call]
    return scaled


class _AveragedLater(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Tensor, n_processes: int) -> Tensor:
        ctx.n_processes = n_processes
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        if torch.is_grad_enabled():
            raise InputError(
                "the loss over a process group has no second derivative (create_graph=True): other "
                "processes' rows are constants in it. Use group=None, or no create_graph."
            )
        return gradient * ctx.n_processes, None


def _refuse_differences(everyone: list[dict[str, Any]]) -> None:
    for name in everyone[0]:  # the loss comes first: others have other arguments
        values = [description.get(name) for description in everyone]
        if any(value != values[0] for value in values):
            listed = ", ".join(str(value) for value in values)
            raise InputError(
                f"the processes disagree on {name}: {listed} (process 0 first); "
                "give every process of the group the same."
            )
