"""The rows of a loss as they enter it: checked, in float32 or float64, of unit length.

Shape letters: N embeddings (views), D dimensions.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from lacvit.errors import Diverged, InputError

ROWS_AT_ONCE = 1024
# Squared lengths of which no term that counts overflows or vanishes, in float32 and so in float64.
USUAL_SQUARES = (2.0**-60, 2.0**100)
LEAST_ROOM = 2.0**-40  # of the largest number: logits are summed, over a trillion rows at most


def enter(
    embeddings_ND: Tensor, labels_N: Tensor, temperature: float, normalize: bool
) -> tuple[Tensor, Tensor]:
    """Rows in float32 (float64 for float64), of unit length under ``normalize``; labels in int64.

    Autocast changes nothing in it.

    Raises:
        InputError: wrong shape or dtype, a temperature that is not above 0, a row that cannot be
            used (`Diverged`, if it is not finite); see `supcon_loss`.
    """
    check_arguments(embeddings_ND, labels_N, temperature)
    if not isinstance(normalize, bool):
        kind = type(normalize).__name__
        raise InputError(f"normalize is {normalize!r}, a {kind}; give Python's True or False.")
    with torch.autocast(embeddings_ND.device.type, enabled=False):
        z_ND = checked_rows(embeddings_ND, temperature, normalize)
    return z_ND, labels_N.to(device=z_ND.device, dtype=torch.int64)


def check_arguments(embeddings_ND: Tensor, labels_N: Tensor, temperature: float) -> None:
    """Refuses what no loss can take; looks at no value but the temperature."""
    for name, tensor in ("embeddings", embeddings_ND), ("labels", labels_N):
        if not isinstance(tensor, Tensor):
            raise InputError(f"{name} are a {type(tensor).__name__}; give a torch tensor.")
        if tensor.layout != torch.strided or tensor.is_meta:
            kind = "on the meta device" if tensor.is_meta else f"a tensor of {tensor.layout}"
            raise InputError(f"{name} are {kind}; give a dense tensor that holds its numbers.")
    if embeddings_ND.ndim != 2 or embeddings_ND.shape[1] == 0:
        raise InputError(
            f"embeddings have shape {tuple(embeddings_ND.shape)}; expected (N, D), one row a view. "
            "Stack several views along the rows and repeat the labels."
        )
    if not embeddings_ND.is_floating_point() or embeddings_ND.dtype.itemsize < 2:
        raise InputError(
            f"embeddings are {embeddings_ND.dtype}; expected a floating dtype of 16 bits or more."
        )
    if labels_N.shape != embeddings_ND.shape[:1]:
        raise InputError(
            f"labels have shape {tuple(labels_N.shape)} and embeddings "
            f"{tuple(embeddings_ND.shape)}; expected one label a row: ({len(embeddings_ND)},)."
        )
    if labels_N.is_floating_point() or labels_N.is_complex():
        raise InputError(f"labels are {labels_N.dtype}; expected class numbers of integer dtype.")
    if not isinstance(temperature, Real) or not 0 < temperature < math.inf:
        raise InputError(
            f"temperature is {temperature!r}; it must be a number above 0 (usual: 0.05 to 0.5)."
        )


def checked_rows(embeddings_ND: Tensor, temperature: float, normalize: bool) -> Tensor:
    """The rows in the dtype of the arithmetic, of unit length or as they are; refuses faulty ones.

    Call it outside autocast.
    """
    dtype = torch.promote_types(embeddings_ND.dtype, torch.float32)
    most = torch.finfo(dtype).max * LEAST_ROOM
    if 1 / most > float(temperature):
        raise InputError(
            f"temperature is {temperature}, where logits overflow in {dtype}; it must be above "
            f"{1 / most:.1g} (usual: 0.05 to 0.5)."
        )
    if len(embeddings_ND) == 0:
        return embeddings_ND.to(dtype)
    square_N = squared_lengths(embeddings_ND.detach(), dtype)
    if not normalize:
        too_long_N = ~(square_N / temperature <= most)
        if too_long_N.any():
            _refuse_infinite(embeddings_ND)
            _refuse(too_long_N, "is too long: its logit with itself overflows")
        return embeddings_ND.to(dtype)
    least, longest = (float(bound) for bound in square_N.aminmax())  # NaN if there is one
    usual = USUAL_SQUARES[0] <= least <= longest <= USUAL_SQUARES[1]
    if not usual:
        _refuse_infinite(embeddings_ND)
        largest_N = _largest_entries(embeddings_ND).to(dtype)
        _refuse(largest_N == 0, "is all zeros and has no direction")
        # Scaled by its largest entry no row's square can overflow or vanish.
        embeddings_ND = embeddings_ND.to(dtype) / largest_N[:, None]
        square_N = squared_lengths(embeddings_ND.detach(), dtype)
    z_ND: Tensor = _UnitRows.apply(embeddings_ND, square_N.sqrt())  # type: ignore[no-untyped-call]
    return z_ND


def squared_lengths(x_ND: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """``|x|^2`` of each row, (N,), in ``dtype`` or x's; some rows at a time: no copy is whole.

    `torch.linalg.vector_norm` over the columns takes five times as long on a CPU.
    """
    parts = x_ND.split(ROWS_AT_ONCE)
    return torch.cat([x_RD.to(dtype or x_ND.dtype).square().sum(dim=1) for x_RD in parts])


class _UnitRows(torch.autograd.Function):
    """``x / |x|``, in the norms' dtype. Keeps input and output; plain torch would make more."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, norm_N: Tensor) -> Tensor:
        z_ND = x_ND / norm_N[:, None]
        ctx.save_for_backward(x_ND, z_ND, norm_N)
        return z_ND

    @staticmethod
    def backward(ctx: Any, gradient_ND: Tensor) -> tuple[Tensor, None]:
        x_ND, z_ND, norm_N = ctx.saved_tensors
        with torch.autocast(x_ND.device.type, enabled=False):
            if torch.is_grad_enabled():  # create_graph: the gradient must have a gradient
                wide_ND = x_ND.to(norm_N.dtype)
                z_ND = wide_ND / torch.linalg.vector_norm(wide_ND, dim=1, keepdim=True)
                return torch.autograd.grad(z_ND, x_ND, gradient_ND, create_graph=True)[0], None
            result_ND = z_ND * gradient_ND
            along_N1 = result_ND.sum(dim=1, keepdim=True)
            torch.addcmul(gradient_ND, z_ND, along_N1, value=-1, out=result_ND)
            result_ND /= norm_N[:, None]
        return result_ND.to(x_ND.dtype), None


def _largest_entries(x_ND: Tensor) -> Tensor:
    return torch.cat([x_RD.abs().amax(dim=1) for x_RD in x_ND.detach().split(ROWS_AT_ONCE)])


def _refuse_infinite(x_ND: Tensor) -> None:
    _refuse(~_largest_entries(x_ND).isfinite(), "is not finite", Diverged)


def _refuse(faulty_N: Tensor, what: str, kind: type[InputError] = InputError) -> None:
    if faulty_N.any():
        row = int(faulty_N.nonzero()[0, 0])
        raise kind(
            f"embedding {row} of {len(faulty_N)} {what} ({int(faulty_N.sum())} such rows). "
            "Training may have diverged: lower the learning rate, and look at what the encoder "
            "gives for this row."
        )
