"""Means of a loss of rows of logits, without holding the matrix: a block of rows at a time.

For losses whose rows cannot be put together from class sums, as SupCon's can. Such a loss is
written as a function of some rows of the logits; each block's gradient is taken as soon as its
value is known, so nothing but the gradient is kept. Memory O(N D) and a few blocks, time O(N N D):
three products of the matrix's size.

Shape letters: N embeddings (views), D dimensions, A anchors, C columns, B anchors of one block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from lacvit.losses.batch import Batch

# (logits_BC, which_B) -> (B,): the losses of the anchors ``which_B``, in plain torch.
RowLoss = Callable[[Tensor, Tensor], Tensor]
# (logits_BN, positive_BN, negative_BN) -> (B,): the same, of anchors that all have a positive.
AnchorLoss = Callable[[Tensor, Tensor, Tensor], Tensor]

BLOCK = 2**20  # logits of a block, 4 MB of float32; a loss holds about ten tensors of that size


def mean_over_anchors(anchor_loss: AnchorLoss, z_ND: Tensor, batch: Batch) -> Tensor:
    """Mean of ``anchor_loss`` over the rows that share their class with another row.

    Without such a row it is 0, with a gradient of zeros.

    Args:
        anchor_loss: of rows of ``z_ND @ z_ND.T / temperature``, and of the masks of their
            positives (same class, another row) and negatives (another class).
        z_ND: float32 or float64; no row is normalised here.
        batch: the classes of the rows, and the temperature.
    """
    class_N = batch.class_index_N
    anchor_A = (batch.class_counts_K[class_N] > 1).nonzero()[:, 0]
    if len(anchor_A) == 0:
        return (z_ND * 0.0).sum()

    def row_loss(logits_BN: Tensor, which_B: Tensor) -> Tensor:
        row_B = anchor_A[which_B]
        same_BN = class_N[row_B, None] == class_N
        positive_BN = same_BN.scatter(1, row_B[:, None], False)
        return anchor_loss(logits_BN, positive_BN, ~same_BN)

    return mean_over_rows(row_loss, z_ND[anchor_A], z_ND, batch.temperature)


def log_sum_exp(logits_BC: Tensor, where_BC: Tensor) -> Tensor:
    """``log sum exp`` over the columns where ``where_BC`` holds; hugely negative where none does.

    Not minus infinity, whose gradient would be NaN.
    """
    nothing = torch.finfo(logits_BC.dtype).min / 4
    log_sum_B: Tensor = logits_BC.masked_fill(~where_BC, nothing).logsumexp(dim=1)
    return log_sum_B


def mean_over_rows(
    row_loss: RowLoss, anchors_AD: Tensor, columns_CD: Tensor, temperature: float
) -> Tensor:
    """Mean of ``row_loss`` over the rows of ``anchors_AD @ columns_CD.T / temperature``.

    Call it outside autocast; ``backward`` may be called anywhere. A second derivative is right too,
    but is computed through the whole matrix, in its memory.

    Args:
        row_loss: the loss of each row, from its logits alone.
        anchors_AD: float32 or float64, at least one row.
        columns_CD: of the same dtype.
        temperature: divides the products.
    """
    differentiate = torch.is_grad_enabled() and (
        anchors_AD.requires_grad or columns_CD.requires_grad
    )
    loss: Tensor = _MeanOverRows.apply(  # type: ignore[no-untyped-call]
        anchors_AD, columns_CD, row_loss, temperature, differentiate
    )
    return loss


class _MeanOverRows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        anchors_AD: Tensor,
        columns_CD: Tensor,
        row_loss: RowLoss,
        temperature: float,
        differentiate: bool,
    ) -> Tensor:
        n = len(anchors_AD)
        total = anchors_AD.new_zeros(())
        to_anchors_AD = torch.zeros_like(anchors_AD, memory_format=torch.contiguous_format)
        to_columns_CD = torch.zeros_like(columns_CD, memory_format=torch.contiguous_format)
        for rows in _blocks(n, len(columns_CD)):
            which_B = torch.arange(rows.start, rows.stop, device=anchors_AD.device)
            logits_BC = anchors_AD[rows] @ columns_CD.T / temperature
            with torch.set_grad_enabled(differentiate):
                loss = row_loss(logits_BC.requires_grad_(differentiate), which_B).sum()
            total += loss.detach()
            if differentiate:
                (pull_BC,) = torch.autograd.grad(loss, logits_BC)
                pull_BC = pull_BC / (n * temperature)
                to_anchors_AD[rows] = pull_BC @ columns_CD
                to_columns_CD.addmm_(pull_BC.T, anchors_AD[rows])
        ctx.row_loss, ctx.temperature = row_loss, temperature
        ctx.save_for_backward(anchors_AD, columns_CD, to_anchors_AD, to_columns_CD)
        return total / n

    @staticmethod
    def backward(ctx: Any, loss_gradient: Tensor) -> tuple[Tensor | None, ...]:
        anchors_AD, columns_CD, to_anchors_AD, to_columns_CD = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph: the gradient must have a gradient
            # Views part the two: the anchors may have been picked from the columns.
            ends = anchors_AD.view_as(anchors_AD), columns_CD.view_as(columns_CD)
            with torch.autocast(anchors_AD.device.type, enabled=False):
                which_A = torch.arange(len(anchors_AD), device=anchors_AD.device)
                loss = ctx.row_loss(ends[0] @ ends[1].T / ctx.temperature, which_A).mean()
                to_anchors_AD, to_columns_CD = torch.autograd.grad(loss, ends, create_graph=True)
        return to_anchors_AD * loss_gradient, to_columns_CD * loss_gradient, None, None, None


def _blocks(n_rows: int, n_columns: int) -> Iterator[slice]:
    size = max(BLOCK // n_columns, 1)
    return (slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size))
