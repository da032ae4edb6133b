"""The pairwise sums of the supervised contrastive loss, tile by tile, in plain torch: any device.

The matrix of similarities is symmetric. Among this process's own rows a tile above the diagonal
serves its rows and its columns, in the denominators and in the gradient: half of those tiles are
computed. The gradient computes them again, save the first ``KEPT_BYTES`` of them.

Shape letters: N embeddings, D dimensions, R this process's rows (all of the N where it is alone);
of one tile P rows and Q columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lacvit.losses.batch import Batch
from lacvit.losses.linear_memory import Passes, linear_memory_supcon

TILE = 512
KEPT_BYTES = 24 * 2**20
LOG2_E = 1 / math.log(2)


def tiled_supcon(z_RD: Tensor, batch: Batch) -> Tensor:
    """`linear_memory_supcon` by tiles of plain torch."""
    return linear_memory_supcon(z_RD, batch, Passes(log_denominators, repulsion))


def log_denominators(
    z_RD: Tensor, z_ND: Tensor, first: int, temperature: float, kept: list[Tensor] | None
) -> Tensor:
    """See `linear_memory.LogDenominators`; tiles that fit in ``KEPT_BYTES`` go to ``kept``."""
    if _exponentials_fit(z_ND, temperature):
        sum_R = z_ND.new_zeros(len(z_RD))
        for tile in _tiles(z_RD, z_ND, first, temperature, True, kept):
            sum_R[tile.rows] += tile.values_PQ.sum(dim=1)
            if tile.mirror is not None:
                sum_R[tile.mirror] += tile.values_PQ.sum(dim=0)
        return sum_R.log()
    log_sum_R = z_ND.new_full((len(z_RD),), -torch.inf)
    for tile in _tiles(z_RD, z_ND, first, temperature, False, kept):
        sides = [(tile.rows, 1)] if tile.mirror is None else [(tile.rows, 1), (tile.mirror, 0)]
        for side, dim in sides:
            log_sum_R[side] = torch.logaddexp(log_sum_R[side], tile.values_PQ.logsumexp(dim=dim))
    return log_sum_R


def repulsion(
    z_RD: Tensor,
    z_ND: Tensor,
    first: int,
    log_denominator_N: Tensor,
    temperature: float,
    kept: list[Tensor],
) -> Tensor:
    """See `linear_memory.Repulsion`; ``kept`` as `log_denominators` left it."""
    push_RD = torch.zeros_like(z_RD, memory_format=torch.contiguous_format)
    exponentials = _exponentials_fit(z_ND, temperature)
    log_denominator_R = log_denominator_N[first : first + len(z_RD)]
    share_R, share_N = torch.exp(-log_denominator_R), torch.exp(-log_denominator_N)
    weight = z_ND.new_empty(_side(z_ND) ** 2)
    for tile in _tiles(z_RD, z_ND, first, temperature, exponentials, kept, keep=False):
        weight_PQ = weight[: tile.values_PQ.numel()].view(tile.values_PQ.shape)
        if exponentials:
            torch.add(share_R[tile.rows, None], share_N[None, tile.columns], out=weight_PQ)
            weight_PQ *= tile.values_PQ
        else:
            torch.sub(tile.values_PQ, log_denominator_R[tile.rows, None], out=weight_PQ).exp_()
            weight_PQ += (tile.values_PQ - log_denominator_N[None, tile.columns]).exp_()
        push_RD[tile.rows].addmm_(weight_PQ, z_ND[tile.columns])
        if tile.mirror is not None:
            push_RD[tile.mirror].addmm_(weight_PQ.T, z_RD[tile.rows])
    return push_RD


def _exponentials_fit(z_ND: Tensor, temperature: float) -> bool:
    """Whether exp(z.z / t) and its sums stay within the dtype without a maximum taken off.

    For unit rows in float32: from temperature 0.014 up. The 8 leaves a factor of 3000 to the
    smallest normal number, so that no exponential loses digits.
    """
    largest_logit = float(torch.linalg.vector_norm(z_ND, dim=1).max()) ** 2 / temperature
    return largest_logit + math.log(len(z_ND)) < -math.log(torch.finfo(z_ND.dtype).tiny) - 8


@dataclass(frozen=True)
class _Tile:
    """``exp(z_i.z_a / t)`` with 0 for a = i, or ``z_i.z_a / t`` with -inf there."""

    rows: slice
    """Among the R."""
    columns: slice
    """Among the N."""
    mirror: slice | None
    """The columns among the R, where the transposed tile serves them too."""
    values_PQ: Tensor


def _tiles(
    z_RD: Tensor,
    z_ND: Tensor,
    first: int,
    temperature: float,
    exponentials: bool,
    kept: list[Tensor] | None,
    keep: bool = True,
) -> Iterator[_Tile]:
    """Every tile that the R rows need, as exponentials or as logits.

    The first tiles are taken from ``kept``; while ``keep`` and ``KEPT_BYTES`` allow, new ones are
    added there (do not write into them). The others share a buffer, and each is gone when the next
    is asked for.
    """
    side = _side(z_ND)
    buffer = z_ND.new_empty(side**2)
    scale = (LOG2_E if exponentials else 1.0) / temperature  # exp2 is the faster exponential
    room = KEPT_BYTES if keep and kept is not None else 0
    for number, (rows, columns, mirror) in enumerate(_cut(len(z_RD), len(z_ND), first, side)):
        if kept is not None and number < len(kept):
            yield _Tile(rows, columns, mirror, kept[number])
            continue
        shape = rows.stop - rows.start, columns.stop - columns.start
        room -= shape[0] * shape[1] * z_ND.element_size()
        new = room >= 0
        tile_PQ = z_ND.new_empty(shape) if new else buffer[: shape[0] * shape[1]].view(shape)
        torch.addmm(tile_PQ, z_RD[rows], z_ND[columns].T, beta=0, alpha=scale, out=tile_PQ)
        if exponentials:
            tile_PQ.exp2_()
        if rows.start + first == columns.start:
            tile_PQ.fill_diagonal_(0.0 if exponentials else -torch.inf)
        if new and kept is not None:
            kept.append(tile_PQ)
        yield _Tile(rows, columns, mirror, tile_PQ)


def _side(z_ND: Tensor) -> int:
    """Rows and columns of a tile, at most."""
    return min(TILE, len(z_ND))


def _cut(n_rows: int, n: int, first: int, side: int) -> Iterator[tuple[slice, slice, slice | None]]:
    """Rows, columns and mirror of each tile: among own rows the upper triangle, then the rest."""
    own = _blocks(0, n_rows, side)
    others = [*_blocks(0, first, side), *_blocks(first + n_rows, n, side)]
    for i, rows in enumerate(own):
        for mirror in own[i:]:
            columns = slice(mirror.start + first, mirror.stop + first)
            yield rows, columns, None if mirror == rows else mirror
        for columns in others:
            yield rows, columns, None


def _blocks(start: int, stop: int, side: int) -> list[slice]:
    return [slice(s, min(s + side, stop)) for s in range(start, stop, side)]
