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
from itertools import pairwise

import torch
from torch import Tensor

from lacvit.losses.batch import Batch
from lacvit.losses.linear_memory import Forces, Pairs, Passes, linear_memory_supcon

TILE = 512
KEPT_BYTES = 40 * 2**20
# What is less than 32 MB in one piece glibc learns to keep; else it goes back to the system, and is
# cleared page by page at every call.
PIECE_BYTES = 30 * 2**20
LOG2_E = 1 / math.log(2)


def tiled_supcon(z_RD: Tensor, batch: Batch) -> Tensor:
    """`linear_memory_supcon` by tiles of plain torch."""
    return linear_memory_supcon(z_RD, batch, Passes(log_denominators, gradients))


def log_denominators(pairs: Pairs, kept: list[Tensor] | None) -> Tensor:
    """See `linear_memory.LogDenominators`; tiles that fit in ``KEPT_BYTES`` go to ``kept``."""
    cut = _cut(pairs)
    n_rows = len(pairs.z_RD)
    if _exponentials_fit(pairs):
        sum_R = pairs.z_ND.new_zeros(n_rows)
        sums = cut.of_rows(sum_R)
        for tile in _tiles(pairs, cut, True, kept):
            sums[tile.rows] += tile.values_PQ.sum(dim=1)
            if tile.mirrored:
                sums[tile.columns] += tile.values_PQ.sum(dim=0)
        return sum_R.log()
    log_sum_R = pairs.z_ND.new_full((n_rows,), -torch.inf)
    log_sums = cut.of_rows(log_sum_R)
    for tile in _tiles(pairs, cut, False, kept):
        sides = [(tile.rows, 1), (tile.columns, 0)] if tile.mirrored else [(tile.rows, 1)]
        for side, dim in sides:
            more = tile.values_PQ.logsumexp(dim=dim)
            torch.logaddexp(log_sums[side], more, out=log_sums[side])
    return log_sum_R


def gradients(pairs: Pairs, forces: Forces, kept: list[Tensor]) -> Tensor:
    """See `linear_memory.Gradients`; ``kept`` as `log_denominators` left it."""
    cut = _cut(pairs)
    sum_RD = torch.zeros_like(pairs.z_RD, memory_format=torch.contiguous_format)
    exponentials = _exponentials_fit(pairs)
    z, sums = cut.of_all(pairs.z_ND), cut.of_rows(sum_RD)
    log_denominator = cut.of_all(forces.log_denominator_N)
    share = cut.of_all(torch.exp(-forces.log_denominator_N))
    # As floats, which compare ten times as fast here; exact below 2^24 classes.
    classes = cut.of_all(forces.class_index_N.to(sum_RD.dtype))
    pull = cut.of_all(-forces.pull_N)
    weight = sum_RD.new_empty(cut.side**2)
    for tile in _tiles(pairs, cut, exponentials, kept, keep=False):
        rows, columns, values_PQ = tile.rows, tile.columns, tile.values_PQ
        weight_PQ = weight[: values_PQ.numel()].view(values_PQ.shape)
        torch.eq(classes[rows][:, None], classes[columns], out=weight_PQ)
        weight_PQ *= pull[rows][:, None]
        if rows == columns:
            weight_PQ.fill_diagonal_(0.0)
        if exponentials:
            weight_PQ.addcmul_(values_PQ, share[rows][:, None])
            weight_PQ.addcmul_(values_PQ, share[columns])
        else:
            # No share is above 1; but z_i.z_a and z_a.z_i may be rounded differently, and where
            # logits are in the millions that is much.
            for sided in (log_denominator[rows][:, None], log_denominator[columns]):
                weight_PQ += (values_PQ - sided).clamp_(max=0).exp_()
        sums[rows].addmm_(weight_PQ, z[columns])
        if tile.mirrored:
            sums[columns].addmm_(weight_PQ.T, z[rows])
    return sum_RD


def _exponentials_fit(pairs: Pairs) -> bool:
    """Whether exp(z.z / t) and its sums stay within the dtype without a maximum taken off.

    For unit rows in float32: from temperature 0.014 up. The 8 leaves a factor of 3000 to the
    smallest normal number, so that no exponential loses digits.
    """
    largest = pairs.longest / pairs.temperature + math.log(len(pairs.z_ND))
    return largest < -math.log(torch.finfo(pairs.z_ND.dtype).tiny) - 8


@dataclass(frozen=True)
class _Cut:
    """The N rows in blocks, none of which is partly own; a block is named by its first row."""

    n_rows: int
    n: int
    first: int
    side: int

    def own(self) -> list[int]:
        """Blocks of this process's rows."""
        return list(range(self.first, self.first + self.n_rows, self.side))

    def others(self) -> list[int]:
        """Blocks of the other processes' rows."""
        before = range(0, self.first, self.side)
        return [*before, *range(self.first + self.n_rows, self.n, self.side)]

    def of_all(self, x_N: Tensor) -> dict[int, Tensor]:
        """Views of something about all N rows, one a block."""
        bounds = (0, self.first, self.first + self.n_rows, self.n)
        return {
            start: x_N[start : min(start + self.side, stop)]
            for begin, stop in pairwise(bounds)
            for start in range(begin, stop, self.side)
        }

    def of_rows(self, x_R: Tensor) -> dict[int, Tensor]:
        """The same of something about this process's R rows."""
        first, side = self.first, self.side
        return {start: x_R[start - first : start - first + side] for start in self.own()}


@dataclass(frozen=True)
class _Tile:
    """``exp(z_i.z_a / t)`` with 0 for a = i, or ``z_i.z_a / t`` with -inf there."""

    rows: int
    """A block of own rows."""
    columns: int
    """A block of any."""
    mirrored: bool
    """Whether the transposed tile serves the columns, which are own rows too."""
    values_PQ: Tensor


def _tiles(
    pairs: Pairs,
    cut: _Cut,
    exponentials: bool,
    kept: list[Tensor] | None,
    keep: bool = True,
) -> Iterator[_Tile]:
    """Every tile that the R rows need, as exponentials or as logits.

    The first tiles are taken from ``kept``; while ``keep`` and ``KEPT_BYTES`` allow, new ones are
    added there (do not write into them). The others share a buffer, and each is gone when the next
    is asked for.
    """
    z_ND = pairs.z_ND
    z = cut.of_all(z_ND)
    scale = (LOG2_E if exponentials else 1.0) / pairs.temperature  # exp2 is the faster exponential
    own, others = cut.own(), cut.others()
    # Among own rows the upper triangle, then the rest.
    places = [(r, c) for i, r in enumerate(own) for c in (*own[i:], *others)]
    mirrors = set(own)
    buffer = z_ND.new_empty(cut.side**2)
    stores: list[Tensor] = []
    if keep and kept is not None:
        needed = sum(len(z[rows]) * len(z[columns]) for rows, columns in places)
        stores = _pieces(z_ND, min(KEPT_BYTES // z_ND.element_size(), needed))
    for number, (rows, columns) in enumerate(places):
        mirrored = columns != rows and columns in mirrors
        if kept is not None and number < len(kept):
            yield _Tile(rows, columns, mirrored, kept[number])
            continue
        shape = len(z[rows]), len(z[columns])
        size = shape[0] * shape[1]
        while stores and size > len(stores[0]):
            stores.pop(0)
        tile_PQ = (stores[0] if stores else buffer)[:size].view(shape)
        torch.addmm(tile_PQ, z[rows], z[columns].T, beta=0, alpha=scale, out=tile_PQ)
        if exponentials:
            tile_PQ.exp2_()
        if rows == columns:
            tile_PQ.fill_diagonal_(0.0 if exponentials else -torch.inf)
        if stores and kept is not None:
            stores[0] = stores[0][size:]
            kept.append(tile_PQ)
        yield _Tile(rows, columns, mirrored, tile_PQ)


def _pieces(like: Tensor, entries: int) -> list[Tensor]:
    """Room for so many numbers, in pieces of at most ``PIECE_BYTES``."""
    most = PIECE_BYTES // like.element_size()
    starts = range(0, entries, most)
    return [like.new_empty(min(most, entries - start)) for start in starts]


def _cut(pairs: Pairs) -> _Cut:
    n = len(pairs.z_ND)
    return _Cut(len(pairs.z_RD), n, pairs.first, min(TILE, n))
