"""The supervised contrastive loss in memory O(N D): its algebra, whoever computes the sums.

Two facts carry it; the third, that the matrix of similarities is symmetric, is for `Passes`.

1. The positive term needs no pairs. With S_k the sum and Q_k the summed squared length of the m_k
   rows of class k: ``sum_i mean_{p in P(i)} z_i.z_p = sum_k (|S_k|^2 - Q_k) / (m_k - 1)``.
2. The gradient needs nothing of the forward pass but N log-denominators.

With ``e_ia = exp(z_i.z_a / t)``, ``d_i = sum_{a != i} e_ia``, A anchors, w_i = 1 for an anchor, 0
for a row without a positive, and ``c_ia = 2 / (m_k - 1)`` where i and a are of one class k, else 0,
the gradient of the mean loss with respect to row i is
``[ sum_{a != i} (e_ia (w_i / d_i + w_a / d_a) - c_ia) z_a ] / (A t)``.

The attraction could be had from S_k too, at no cost; but where a class has nearly become a point,
it and the repulsion are long vectors that nearly cancel, and in float32 nothing right would be left
of their difference. Within a weight their difference is right.

Shape letters: N embeddings, R of them this process's, D dimensions, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from lacvit.losses.batch import Batch
from lacvit.losses.reference import dense_supcon
from lacvit.losses.rows import squared_lengths

ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Pairs:
    """Which rows meet which: R of this process against all N. No tensor has a graph."""

    z_RD: Tensor
    """``z_ND[first : first + R]``"""
    z_ND: Tensor
    first: int
    temperature: float
    longest: float
    """Largest ``z.z`` of the N rows."""


class LogDenominators(Protocol):
    """``log sum_{a != i} exp(z_i.z_a / t)`` for the R rows i = first, first + 1, ...: (R,).

    In z's dtype; -inf where there is no other row. What the second pass can use again goes into
    ``kept``; it is None where no gradient will be asked for.
    """

    def __call__(self, pairs: Pairs, kept: list[Tensor] | None) -> Tensor: ...


@dataclass(frozen=True)
class Forces:
    """What the weights of the gradient are made of, beside the similarities."""

    log_denominator_N: Tensor
    """ln d, and +inf (a share of 0) where a row is no anchor."""
    class_index_N: Tensor
    """int64, 0 to K-1."""
    pull_N: Tensor
    """``2 / (m_k - 1)`` for a row of class k, 0 where it has no positive; in z's dtype."""


class Gradients(Protocol):
    """``sum_{a != i} (e_ia (1 / d_i + 1 / d_a) - c_ia) z_a`` for the same rows: a fresh (R, D)."""

    def __call__(self, pairs: Pairs, forces: Forces, kept: list[Tensor]) -> Tensor: ...


@dataclass(frozen=True)
class Passes:
    """The two sums over pairs."""

    log_denominators: LogDenominators
    gradients: Gradients


def linear_memory_supcon(z_RD: Tensor, batch: Batch, passes: Passes) -> Tensor:
    """Value and gradient of `reference_supcon`, in time O(N R D) and memory O(N D).

    Over several processes: after the exchange of the rows, one more, of the log-denominators, gives
    each process what the whole gradient of its own rows needs. The backward pass exchanges nothing.

    A second derivative is right too, but is computed through the dense definition, in its memory.
    """
    kept: list[Tensor] | None = [] if torch.is_grad_enabled() and z_RD.requires_grad else None
    loss: Tensor = _LinearMemory.apply(  # type: ignore[no-untyped-call]
        z_RD, batch, passes, kept
    )
    return loss


class _LinearMemory(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        z_RD: Tensor,
        batch: Batch,
        passes: Passes,
        kept: list[Tensor] | None,
    ) -> Tensor:
        z_ND, class_index_N, class_counts_K = batch.z_ND, batch.class_index_N, batch.class_counts_K
        block, temperature = batch.block, batch.temperature
        cosine_K, longest = _positive_cosines(z_ND, class_index_N, len(class_counts_K))
        pairs = Pairs(z_RD, z_ND, block.rows.start, temperature, longest)
        log_denominator_N = block.gather(passes.log_denominators(pairs, kept))
        wide = cosine_K.dtype
        # 1 / positives, and 0 for a class of one, whose row is no anchor.
        per_positive_K = (class_counts_K > 1) / (class_counts_K - 1).clamp(min=1).to(wide)
        if batch.n_anchors < len(z_ND):
            is_anchor_N = (class_counts_K > 1)[class_index_N]
            repulsion = (log_denominator_N * is_anchor_N).sum(dtype=wide)
            log_denominator_N = log_denominator_N.masked_fill(~is_anchor_N, torch.inf)
        else:
            repulsion = log_denominator_N.sum(dtype=wide)
        attraction = torch.dot(cosine_K, per_positive_K) / temperature
        pull_N = (2 * per_positive_K).to(z_ND.dtype)[class_index_N]
        ctx.block, ctx.temperature, ctx.passes = block, temperature, passes
        ctx.n_anchors, ctx.longest = batch.n_anchors, longest
        ctx.save_for_backward(
            *(z_RD, z_ND, class_index_N, class_counts_K, log_denominator_N, pull_N),
            *(kept or ()),
        )
        return ((repulsion - attraction) / batch.n_anchors).to(z_ND.dtype)

    @staticmethod
    def backward(ctx: Any, loss_gradient: Tensor) -> tuple[Tensor | None, ...]:
        z_RD, z_ND, class_index_N, class_counts_K, *of_pairs = ctx.saved_tensors
        log_denominator_N, pull_N, *kept = of_pairs
        temperature = ctx.temperature
        with torch.autocast(z_ND.device.type, enabled=False):
            if torch.is_grad_enabled():  # create_graph: the gradient must have a gradient
                loss = dense_supcon(z_RD, class_index_N, class_counts_K, temperature)
                (gradient_RD,) = torch.autograd.grad(loss, z_RD, create_graph=True)
                return gradient_RD * loss_gradient, None, None, None
            pairs = Pairs(z_RD, z_ND, ctx.block.rows.start, temperature, ctx.longest)
            forces = Forces(log_denominator_N, class_index_N, pull_N)
            gradient_RD = ctx.passes.gradients(pairs, forces, kept)
            gradient_RD *= loss_gradient / (ctx.n_anchors * temperature)
        return gradient_RD, None, None, None


def _runs(n: int) -> Iterator[slice]:
    return (slice(start, min(start + ROWS_AT_ONCE, n)) for start in range(0, n, ROWS_AT_ONCE))


def _positive_cosines(z_ND: Tensor, class_index_N: Tensor, n_classes: int) -> tuple[Tensor, float]:
    """For each class the sum of ``z_i.z_p`` over its ordered pairs i != p: (K,); the largest z.z.

    In float64 where the device has it: ``|S|^2 - Q`` takes a small number off a large one.
    """
    wide = torch.float32 if z_ND.device.type == "mps" else torch.float64
    sum_KD = z_ND.new_zeros(n_classes, z_ND.shape[1], dtype=wide)
    squares = []
    for rows in _runs(len(z_ND)):
        wide_RD = z_ND[rows].to(wide, copy=True)
        sum_KD.index_add_(0, class_index_N[rows], wide_RD)
        squares.append(wide_RD.square_().sum(dim=1))
    square_N = torch.cat(squares)
    square_K = torch.zeros_like(sum_KD[:, 0]).index_add_(0, class_index_N, square_N)
    return squared_lengths(sum_KD) - square_K, float(square_N.max())
