"""Arrays in JAX's layout, turned into torch's.

Shape letters: I inputs, O outputs, H heads, K width of a head, P patch.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

ATTENTION = "MultiHeadDotProductAttention_1"
FIRST_QUERY = f"Transformer/encoderblock_0/{ATTENTION}/query/kernel"
QKV = ("query", "key", "value")


def heads_in(tensors: Mapping[str, Tensor]) -> int | None:
    """The number of attention heads, which the query's kernel (I, H, K) says."""
    query = tensors.get(FIRST_QUERY)
    return query.shape[1] if query is not None and query.ndim == 3 else None


def to_torch_layout(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same arrays with torch's order of axes; query, key and value become one ``qkv``.

    Kernels (I, O) become (O, I), (P, P, I, O) become (O, I, P, P), the projection (H, K, O)
    becomes (O, H K). What does not look so is handed on as it is, to be refused by its shape.
    """
    moved = {}
    for key, tensor in tensors.items():
        stem, _, part = key.rpartition("/")
        attention, _, role = stem.rpartition("/")
        if role in QKV and attention.endswith(ATTENTION):
            trio = [tensors.get(f"{attention}/{name}/{part}") for name in QKV]
            whole = [_rows(one) for one in trio if one is not None and one.shape == tensor.shape]
            if len(whole) == len(QKV):
                moved[f"{attention}/qkv/{part}"] = torch.cat(whole)
                continue
        moved[key] = _turned(tensor) if part == "kernel" else tensor
    return moved


def _rows(part: Tensor) -> Tensor:
    return part.flatten(1).T if part.ndim == 3 else part.flatten()


def _turned(kernel: Tensor) -> Tensor:
    if kernel.ndim == 4:
        return kernel.permute(3, 2, 0, 1)
    return kernel.flatten(0, -2).T if kernel.ndim in (2, 3) else kernel
