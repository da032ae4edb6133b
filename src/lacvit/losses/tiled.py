"""The supervised contrastive loss in memory O(N D): the similarity matrix is never whole.

Three facts carry it.

1. The positive term needs no pairs. With S_k the sum and Q_k the summed squared length of the m_k
   rows of class k: ``sum_i mean_{p in P(i)} z_i.z_p = sum_k (|S_k|^2 - Q_k) / (m_k - 1)``.
2. The matrix is symmetric. A tile above the diagonal serves its rows and its columns, in the
   denominators and in the gradient: half of the tiles are computed.
3. The gradient needs nothing of the forward pass but N log-denominators: the tiles are computed
   again, save the first ``KEPT_BYTES`` of them.

With ``e_ia = exp(z_i.z_a / t)``, ``d_i = sum_{a != i} e_ia``, A anchors and w_i = 1 for an anchor,
0 for a row without a positive, the gradient of the mean loss with respect to row i of class k is
``[ sum_{a != i} e_ia (w_i / d_i + w_a / d_a) z_a - 2 w_i (S_k - z_i) / (m_k - 1) ] / (A t)``.

Shape letters: N embeddings, D dimensions, K classes, R and C rows and columns of one tile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lacvit.losses.reference import reference_supcon

TILE = 512
KEPT_BYTES = 24 * 2**20
LOG2_E = 1 / math.log(2)


def tiled_supcon(
    z_ND: Tensor, class_index_N: Tensor, class_counts_K: Tensor, temperature: float
) -> Tensor:
    """Value and gradient of `reference_supcon`, in time O(N N D) and memory O(N D).

    A second derivative is right too, but is computed through the dense definition, in its memory.
    """
    room = KEPT_BYTES if torch.is_grad_enabled() and z_ND.requires_grad else 0
    loss: Tensor = _TiledSupCon.apply(  # type: ignore[no-untyped-call]
        z_ND, class_index_N, class_counts_K, temperature, room
    )
    return loss


class _TiledSupCon(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        z_ND: Tensor,
        class_index_N: Tensor,
        class_counts_K: Tensor,
        temperature: float,
        room: int,
    ) -> Tensor:
        kept: list[Tensor] = []
        log_denominator_N = _log_denominators(z_ND, temperature, kept, room)
        class_sum_KD, cosine_sum_K = _class_sums(z_ND, class_index_N, len(class_counts_K))
        positives_K = class_counts_K - 1
        is_anchor_N = (positives_K > 0)[class_index_N]

        repulsion = (log_denominator_N * is_anchor_N).sum(dtype=cosine_sum_K.dtype)
        attraction = (cosine_sum_K / positives_K.clamp(min=1)).sum() / temperature
        ctx.temperature = temperature
        ctx.save_for_backward(
            z_ND, class_index_N, class_counts_K, log_denominator_N, class_sum_KD, *kept
        )
        return ((repulsion - attraction) / is_anchor_N.sum()).to(z_ND.dtype)

    @staticmethod
    def backward(ctx: Any, loss_gradient: Tensor) -> tuple[Tensor | None, ...]:
        z_ND, class_index_N, class_counts_K, log_denominator_N, class_sum_KD, *kept = (
            ctx.saved_tensors
        )
        with torch.autocast(z_ND.device.type, enabled=False):
            if torch.is_grad_enabled():  # create_graph: the gradient must have a gradient
                loss = reference_supcon(z_ND, class_index_N, class_counts_K, ctx.temperature)
                (gradient_ND,) = torch.autograd.grad(loss, z_ND, create_graph=True)
                return gradient_ND * loss_gradient, None, None, None, None
            positives_N = (class_counts_K - 1)[class_index_N]
            is_anchor_N = positives_N > 0
            gradient_ND = _repulsion(z_ND, log_denominator_N, is_anchor_N, ctx.temperature, kept)
            pull_N = 2 * is_anchor_N.to(class_sum_KD.dtype) / positives_N.clamp(min=1)
            for rows in _blocks(len(z_ND)):
                others_RD = class_sum_KD[class_index_N[rows]] - z_ND[rows]
                gradient_ND[rows] -= (pull_N[rows, None] * others_RD).to(z_ND.dtype)
            gradient_ND *= loss_gradient / is_anchor_N.sum() / ctx.temperature
        return gradient_ND, None, None, None, None


def _log_denominators(z_ND: Tensor, temperature: float, kept: list[Tensor], room: int) -> Tensor:
    """``log sum_{a != i} exp(z_i.z_a / t)``; tiles that fit in ``room`` bytes go to ``kept``."""
    n = len(z_ND)
    if _exponentials_fit(z_ND, temperature):
        sum_N = z_ND.new_zeros(n)
        for rows, columns, exp_RC in _tiles(z_ND, temperature, True, kept, room):
            sum_N[rows] += exp_RC.sum(dim=1)
            if rows != columns:
                sum_N[columns] += exp_RC.sum(dim=0)
        return sum_N.log()
    log_sum_N = z_ND.new_full((n,), -torch.inf)
    for rows, columns, logit_RC in _tiles(z_ND, temperature, False, kept, room):
        log_sum_N[rows] = torch.logaddexp(log_sum_N[rows], logit_RC.logsumexp(dim=1))
        if rows != columns:
            log_sum_N[columns] = torch.logaddexp(log_sum_N[columns], logit_RC.logsumexp(dim=0))
    return log_sum_N


def _repulsion(
    z_ND: Tensor,
    log_denominator_N: Tensor,
    is_anchor_N: Tensor,
    temperature: float,
    kept: list[Tensor],
) -> Tensor:
    """``sum_{a != i} e_ia (w_i / d_i + w_a / d_a) z_a``: what the denominators push row i along."""
    push_ND = torch.zeros_like(z_ND, memory_format=torch.contiguous_format)
    exponentials = _exponentials_fit(z_ND, temperature)
    log_denominator_N = log_denominator_N.masked_fill(~is_anchor_N, torch.inf)
    share_N = torch.exp(-log_denominator_N)
    weight = z_ND.new_empty(min(TILE, len(z_ND)) ** 2)
    for rows, columns, tile_RC in _tiles(z_ND, temperature, exponentials, kept, 0):
        weight_RC = weight[: tile_RC.numel()].view(tile_RC.shape)
        if exponentials:
            torch.add(share_N[rows, None], share_N[None, columns], out=weight_RC)
            weight_RC *= tile_RC
        else:
            torch.sub(tile_RC, log_denominator_N[rows, None], out=weight_RC).exp_()
            weight_RC += (tile_RC - log_denominator_N[None, columns]).exp_()
        push_ND[rows].addmm_(weight_RC, z_ND[columns])
        if rows != columns:
            push_ND[columns].addmm_(weight_RC.T, z_ND[rows])
    return push_ND


def _exponentials_fit(z_ND: Tensor, temperature: float) -> bool:
    """Whether exp(z.z / t) and its sums stay within the dtype without a maximum taken off.

    For unit rows in float32: from temperature 0.014 up. The 8 leaves a factor of 3000 to the
    smallest normal number, so that no exponential loses digits.
    """
    largest_logit = float(z_ND.square().sum(dim=1).max()) / temperature
    return largest_logit + math.log(len(z_ND)) < -math.log(torch.finfo(z_ND.dtype).tiny) - 8


def _tiles(
    z_ND: Tensor, temperature: float, exponentials: bool, kept: list[Tensor], room: int
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Rows, columns and values of the tiles on and above the diagonal.

    The values are ``exp(z_i.z_a / t)`` with 0 for a = i, or under ``exponentials=False``
    ``z_i.z_a / t`` with -inf. Kept tiles are given again (do not write into them); the others
    share a buffer, and each is gone when the next is asked for.
    """
    buffer = z_ND.new_empty(min(TILE, len(z_ND)) ** 2)
    scale = (LOG2_E if exponentials else 1.0) / temperature  # exp2 is the faster exponential
    blocks = list(_blocks(len(z_ND)))
    pairs = [(r, c) for i, r in enumerate(blocks) for c in blocks[i:]]
    for number, (rows, columns) in enumerate(pairs):
        if number < len(kept):
            yield rows, columns, kept[number]
            continue
        shape = rows.stop - rows.start, columns.stop - columns.start
        room -= shape[0] * shape[1] * z_ND.element_size()
        keep = room >= 0
        tile_RC = z_ND.new_empty(shape) if keep else buffer[: shape[0] * shape[1]].view(shape)
        torch.addmm(tile_RC, z_ND[rows], z_ND[columns].T, beta=0, alpha=scale, out=tile_RC)
        if exponentials:
            tile_RC.exp2_()
        if rows == columns:
            tile_RC.fill_diagonal_(0.0 if exponentials else -torch.inf)
        if keep:
            kept.append(tile_RC)
        yield rows, columns, tile_RC


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, min(start + TILE, n)) for start in range(0, n, TILE))


def _class_sums(z_ND: Tensor, class_index_N: Tensor, n_classes: int) -> tuple[Tensor, Tensor]:
    """Sum of each class's rows, and the sum of ``z_i.z_p`` over its ordered pairs i != p.

    In float64 where the device has it: ``|S|^2 - Q`` takes a small number off a large one.
    """
    wide = torch.float32 if z_ND.device.type == "mps" else torch.float64
    sum_KD = z_ND.new_zeros(n_classes, z_ND.shape[1], dtype=wide)
    square_K = z_ND.new_zeros(n_classes, dtype=wide)
    for rows in _blocks(len(z_ND)):
        z_RD = z_ND[rows].to(wide)
        sum_KD.index_add_(0, class_index_N[rows], z_RD)
        square_K.index_add_(0, class_index_N[rows], z_RD.square().sum(dim=1))
    return sum_KD, sum_KD.square().sum(dim=1) - square_K
