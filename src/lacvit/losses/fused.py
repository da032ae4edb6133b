# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
"""The pairwise sums of the supervised contrastive loss as Triton kernels, for NVIDIA GPUs.

Each program holds a block of rows and walks over all columns, as flash attention does (Dao 2023,
arXiv 2307.08691): scores never leave the chip, and a row's log-sum-exp is kept online, with the
largest score so far taken off (Milakov and Gimelshein 2018, arXiv 1805.02867). No sum crosses
programs, so these kernels have no atomics and give the same bits every time.

Products of bfloat16 embeddings are taken in bfloat16, of all others in float32, as three products
of tf32 parts (``tf32x3``: 21 bits; a single one keeps 10). Sums are in float32. It takes 6 N N D
operations, since both passes compute every tile; `tiled` uses the symmetry and takes 4. Where D
exceeds a tile's depth, every ``depth`` columns of the gradient compute the scores again.

Importing this file needs triton. Shape letters: N embeddings, R of them this process's, D
dimensions; of one tile P rows, Q columns and K columns of the gradient.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import partial

import torch
import triton
import triton.language as tl
from torch import Tensor

from lacvit.errors import InputError
from lacvit.losses.batch import Batch
from lacvit.losses.linear_memory import Forces, Pairs, Passes, linear_memory_supcon

LOG2_E = 1 / math.log(2)


def fused_supcon(z_RD: Tensor, batch: Batch) -> Tensor:
    """`linear_memory_supcon` by Triton kernels, where `refuse_what_kernels_cannot` has nothing."""
    operands = torch.bfloat16 if batch.operands == torch.bfloat16 else torch.float32
    passes = Passes(
        partial(log_denominators, operands=operands), partial(gradients, operands=operands)
    )
    return linear_memory_supcon(z_RD, batch, passes)


def refuse_what_kernels_cannot(device: torch.device, dtype: torch.dtype) -> None:
    """Raises `InputError` where the kernels would not run, and says what does."""
    instead = "choose impl='tiled'"
    if dtype == torch.float64:
        raise InputError(f"impl is 'fused', which adds up in float32; for float64 {instead}.")
    if os.environ.get("TRITON_INTERPRET") == "1":
        return
    if device.type != "cuda":
        raise InputError(
            f"impl is 'fused', which runs on NVIDIA GPUs, and the embeddings are on {device.type}: "
            f"move them to one, or {instead}."
        )
    capability = torch.cuda.get_device_capability(device)
    if capability < (8, 0):
        found = ".".join(map(str, capability))
        raise InputError(
            f"impl is 'fused', which needs a GPU of compute capability 8.0 (Ampere) or newer; "
            f"this one has {found}: {instead}."
        )


@dataclass(frozen=True)
class Cut:
    """How the kernels are cut: rows, columns and depth of a tile are powers of 2, from 16 up."""

    rows: int
    columns: int
    depth: int
    warps: int = 8
    stages: int = 2

    def options(self, d: int) -> dict[str, int | bool]:
        """What the kernels are compiled for."""
        sizes = {"D": d, "ROWS": self.rows, "COLUMNS": self.columns, "DEPTH": self.depth}
        # Fused multiply-adds are Triton's default; unsaid, Triton 3.9 warns that it will change.
        return {
            **sizes,
            "num_warps": self.warps,
            "num_stages": self.stages,
            "enable_fp_fusion": True,
        }


def cut_for(d: int, operands: torch.dtype) -> Cut:
    """Tiles that spill next to no register and fit in 99 KB of shared memory on sm_80 to sm_89.

    So the compiler says; no GPU has timed them.
    """
    depth = max(triton.next_power_of_2(d), 16)
    if operands == torch.float32:
        return Cut(rows=64, columns=32, depth=min(depth, 64))
    if depth <= 128:
        return Cut(rows=128, columns=64, depth=depth)
    return Cut(rows=64, columns=64, depth=256)


def log_denominators(pairs: Pairs, kept: list[Tensor] | None, *, operands: torch.dtype) -> Tensor:
    """See `linear_memory.LogDenominators`; keeps nothing."""
    z_ND, n_rows = pairs.z_ND, len(pairs.z_RD)
    n, d = z_ND.shape
    log_denominator_R = z_ND.new_empty(n_rows)
    cut = cut_for(d, operands)
    if n_rows > 0:
        with torch.cuda.device_of(z_ND):
            _log_denominators_kernel[(triton.cdiv(n_rows, cut.rows),)](
                z_ND.to(operands).contiguous(),
                log_denominator_R,
                *(pairs.first, n_rows, n, LOG2_E / pairs.temperature),
                **cut.options(d),
            )
    return log_denominator_R


def gradients(pairs: Pairs, forces: Forces, kept: list[Tensor], *, operands: torch.dtype) -> Tensor:
    """See `linear_memory.Gradients`."""
    z_ND, n_rows = pairs.z_ND, len(pairs.z_RD)
    n, d = z_ND.shape
    sum_RD = z_ND.new_empty(n_rows, d)
    cut = cut_for(d, operands)
    if n_rows > 0:
        with torch.cuda.device_of(z_ND):
            _gradients_kernel[(triton.cdiv(n_rows, cut.rows), triton.cdiv(d, cut.depth))](
                z_ND.to(operands).contiguous(),
                forces.log_denominator_N.contiguous() * LOG2_E,
                forces.class_index_N.contiguous(),
                forces.pull_N.contiguous(),
                sum_RD,
                *(pairs.first, n_rows, n, LOG2_E / pairs.temperature),
                **cut.options(d),
            )
    return sum_RD


# Beyond the last row the kernels do the last one again and do not store it: every number that they
# meet is a real row's. n and the like change from batch to batch and are no reason to recompile.


@triton.jit(do_not_specialize=["first", "n_rows", "n"])
def _log_denominators_kernel(
    z_ptr, log_denominator_ptr, first, n_rows, n, scale,
    D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    row_P = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    place_P = first + tl.minimum(row_P, n_rows - 1)
    z_PK = _rows(z_ptr, place_P, n, 0, D, DEPTH)
    largest_P = tl.full([ROWS], -float("inf"), tl.float32)
    sum_P = tl.zeros([ROWS], tl.float32)
    for start in range(0, n, COLUMNS):
        place_Q = start + tl.arange(0, COLUMNS)
        z_QK = _rows(z_ptr, place_Q, n, 0, D, DEPTH)
        score_PQ = _scores(z_ptr, z_PK, z_QK, place_P, place_Q, n, scale, D, DEPTH)
        larger_P = tl.maximum(largest_P, tl.max(score_PQ, 1))
        # A row that has met nothing but itself is at -inf, and -inf - -inf is no number.
        shift_P = tl.where(larger_P == -float("inf"), 0.0, larger_P)
        sum_P = sum_P * tl.exp2(largest_P - shift_P)
        sum_P += tl.sum(tl.exp2(score_PQ - shift_P[:, None]), 1)
        largest_P = larger_P
    ln_2 = 0.6931471805599453
    log_denominator_P = (largest_P + tl.log2(sum_P)) * ln_2
    tl.store(log_denominator_ptr + row_P, log_denominator_P, row_P < n_rows)


@triton.jit(do_not_specialize=["first", "n_rows", "n"])
def _gradients_kernel(
    z_ptr, log_denominator_ptr, class_ptr, pull_ptr, sum_ptr, first, n_rows, n, scale,
    D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """Log-denominators to the base of 2, +inf where a row is no anchor."""
    row_P = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    place_P = first + tl.minimum(row_P, n_rows - 1)
    z_PK = _rows(z_ptr, place_P, n, 0, D, DEPTH)
    log_denominator_P = tl.load(log_denominator_ptr + place_P)
    class_P, pull_P = tl.load(class_ptr + place_P), tl.load(pull_ptr + place_P)
    k = tl.program_id(1) * DEPTH
    sum_PK = tl.zeros([ROWS, DEPTH], tl.float32)
    for start in range(0, n, COLUMNS):
        place_Q = start + tl.arange(0, COLUMNS)
        z_QK = _rows(z_ptr, place_Q, n, 0, D, DEPTH)
        score_PQ = _scores(z_ptr, z_PK, z_QK, place_P, place_Q, n, scale, D, DEPTH)
        log_denominator_Q = tl.load(log_denominator_ptr + place_Q, place_Q < n, float("inf"))
        # No share is above 1, however z_i.z_a and z_a.z_i are rounded.
        weight_PQ = tl.exp2(tl.minimum(score_PQ - log_denominator_P[:, None], 0.0))
        weight_PQ += tl.exp2(tl.minimum(score_PQ - log_denominator_Q[None, :], 0.0))
        same_PQ = class_P[:, None] == tl.load(class_ptr + place_Q, place_Q < n, -1)[None, :]
        attracts_PQ = same_PQ & (place_P[:, None] != place_Q[None, :])
        weight_PQ -= tl.where(attracts_PQ, pull_P[:, None], 0.0)
        if D > DEPTH:
            z_QK = _rows(z_ptr, place_Q, n, k, D, DEPTH)
        sum_PK = tl.dot(weight_PQ.to(z_QK.dtype), z_QK, sum_PK, input_precision="tf32x3")
    depth_K = k + tl.arange(0, DEPTH)
    sum_ptr_PK = sum_ptr + row_P.to(tl.int64)[:, None] * D + depth_K[None, :]
    tl.store(sum_ptr_PK, sum_PK, (row_P < n_rows)[:, None] & (depth_K < D)[None, :])


@triton.jit
def _scores(
    z_ptr, z_PK, z_QK, place_P, place_Q, n, scale, D: tl.constexpr, DEPTH: tl.constexpr
):  # fmt: skip
    """``z_i.z_a log2(e) / t``, -inf where a is i or past the end; the first K of D are loaded."""
    zero_PQ = tl.zeros([z_PK.shape[0], z_QK.shape[0]], tl.float32)
    dot_PQ = tl.dot(z_PK, tl.trans(z_QK), zero_PQ, input_precision="tf32x3")
    for k in range(DEPTH, D, DEPTH):
        more_PK = _rows(z_ptr, place_P, n, k, D, DEPTH)
        more_QK = _rows(z_ptr, place_Q, n, k, D, DEPTH)
        dot_PQ = tl.dot(more_PK, tl.trans(more_QK), dot_PQ, input_precision="tf32x3")
    another_PQ = (place_Q < n)[None, :] & (place_Q[None, :] != place_P[:, None])
    return tl.where(another_PQ, dot_PQ * scale, -float("inf"))


@triton.jit
def _rows(z_ptr, place_P, n, k, D: tl.constexpr, DEPTH: tl.constexpr):
    """Dimensions k to k + DEPTH of some rows; 0 outside. 64-bit offsets: N D may exceed 2^31."""
    depth_K = k + tl.arange(0, DEPTH)
    z_ptr_PK = z_ptr + place_P.to(tl.int64)[:, None] * D + depth_K[None, :]
    return tl.load(z_ptr_PK, (place_P < n)[:, None] & (depth_K < D)[None, :], other=0.0)
