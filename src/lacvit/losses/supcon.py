"""The supervised contrastive loss: what users call. Checks, convention, choice of implementation.

Shape letters: N embeddings (views of all images), D dimensions, K classes in this batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, overload

import torch
from torch import Tensor

from lacvit.errors import InputError
from lacvit.losses.reference import reference_supcon
from lacvit.losses.tiled import tiled_supcon

# (z_ND, class_index_N, class_counts_K, temperature) -> scalar; z in float32 or float64, and at
# least one row with a positive.
Implementation = Callable[[Tensor, Tensor, Tensor, float], Tensor]

IMPLEMENTATIONS: dict[str, Implementation] = {
    "reference": reference_supcon,
    "tiled": tiled_supcon,
}

# Forward and backward, D = 128, one AVX2 core, dense and tiled in ms: 1.0 and 1.2 at 128 rows,
# 2.1 and 1.8 at 256, 41 and 8.5 at 1024.
DENSE_BELOW = 192


@dataclass(frozen=True)
class LossDetails:
    """How a value of the loss came about."""

    implementation: str
    reason: str
    anchors: int
    left_out: int
    """Rows without a positive: no terms of the mean, still negatives of the others."""


@overload
def supcon_loss(
    embeddings_ND: Tensor,
    labels_N: Tensor,
    *,
    temperature: float = 0.1,
    normalize: bool = True,
    impl: str = "auto",
    return_details: Literal[False] = False,
) -> Tensor: ...
@overload
def supcon_loss(
    embeddings_ND: Tensor,
    labels_N: Tensor,
    *,
    temperature: float = 0.1,
    normalize: bool = True,
    impl: str = "auto",
    return_details: Literal[True],
) -> tuple[Tensor, LossDetails]: ...
def supcon_loss(
    embeddings_ND: Tensor,
    labels_N: Tensor,
    *,
    temperature: float = 0.1,
    normalize: bool = True,
    impl: str = "auto",
    return_details: bool = False,
) -> Tensor | tuple[Tensor, LossDetails]:
    """Supervised contrastive loss, L_out of Khosla et al. 2020, equation 2 (LaCViT, equation 1).

    ``mean_i [ logsumexp_{a != i}(z_i.z_a / t) - mean_{p in P(i)} z_i.z_p / t ]`` with unit rows z,
    P(i) the other rows that carry i's label, and i over the rows where P(i) is not empty. Views
    are rows: stack the views of all images and repeat their labels. There is no hidden factor
    (t / 0.07 elsewhere). A caller under ``torch.compile`` runs it as it stands, between two graphs.

    A row without a positive is left out of the mean and counted (it stays a negative of the
    others). An empty batch, and one where no row has a positive, gives 0 with a gradient of zeros.

    Args:
        embeddings_ND: any floating dtype. The arithmetic is done in float32, or float64 for
            float64 input, whatever autocast says; the gradient comes back in the input's dtype.
        labels_N: any integer dtype (or bool), any values; on another device they are moved.
        temperature: divides the cosines.
        normalize: bring the rows to unit length first. Say False only where they have it; rows
            that do not are then used as they are.
        impl: "auto", or a name in ``IMPLEMENTATIONS``; all give the same value.
        return_details: also give a `LossDetails` (on a GPU this waits for the counts).

    Returns:
        A scalar in float32 or float64; or the scalar and its details.

    Raises:
        InputError: wrong shape or dtype, a temperature that is not above 0, an unknown ``impl``;
            a row with NaN or infinity, or (under ``normalize``) of zeros: its index is named.
    """
    if torch.compiler.is_compiling():  # what it does depends on the data: run it as it stands
        compute: Callable[..., Tensor | tuple[Tensor, LossDetails]] = torch.compiler.disable(
            _supcon_loss
        )
    else:
        compute = _supcon_loss
    return compute(embeddings_ND, labels_N, temperature, normalize, impl, return_details)


def _supcon_loss(
    embeddings_ND: Tensor,
    labels_N: Tensor,
    temperature: float,
    normalize: bool,
    impl: str,
    return_details: bool,
) -> Tensor | tuple[Tensor, LossDetails]:
    _check_arguments(embeddings_ND, labels_N, temperature, impl)
    x_ND = embeddings_ND.to(torch.promote_types(embeddings_ND.dtype, torch.float32))
    labels_N = labels_N.to(device=x_ND.device, dtype=torch.int64)
    _, class_index_N, class_counts_K = torch.unique(
        labels_N, return_inverse=True, return_counts=True
    )
    n_anchors = int(class_counts_K[class_counts_K > 1].sum())
    name, reason = _choose(impl, x_ND)
    with torch.autocast(x_ND.device.type, enabled=False):
        z_ND = _checked_rows(x_ND, temperature, normalize)
        if n_anchors == 0:
            loss = (z_ND * 0.0).sum()
        else:
            loss = IMPLEMENTATIONS[name](z_ND, class_index_N, class_counts_K, float(temperature))
    if not return_details:
        return loss
    return loss, LossDetails(name, reason, n_anchors, len(labels_N) - n_anchors)


def _choose(impl: str, z_ND: Tensor) -> tuple[str, str]:
    """Name of the implementation and the reason for it."""
    n = len(z_ND)
    if impl != "auto":
        return impl, "asked for"
    if n >= DENSE_BELOW:
        return "tiled", f"{n} rows; from {DENSE_BELOW} on it is the faster one"
    if torch.is_autocast_enabled(z_ND.device.type):
        return "tiled", "autocast is on; its gradient is exact even if backward runs inside"
    return "reference", f"{n} rows; below {DENSE_BELOW} the dense one is the faster"


def _check_arguments(
    embeddings_ND: Tensor, labels_N: Tensor, temperature: float, impl: str
) -> None:
    if embeddings_ND.ndim != 2 or embeddings_ND.shape[1] == 0:
        raise InputError(
            f"embeddings have shape {tuple(embeddings_ND.shape)}; expected (N, D), one row a view. "
            "Stack several views along the rows and repeat the labels."
        )
    if not embeddings_ND.is_floating_point():
        raise InputError(f"embeddings are {embeddings_ND.dtype}; expected a floating dtype.")
    if labels_N.shape != embeddings_ND.shape[:1]:
        raise InputError(
            f"labels have shape {tuple(labels_N.shape)} and embeddings "
            f"{tuple(embeddings_ND.shape)}; expected one label a row: ({len(embeddings_ND)},)."
        )
    if labels_N.is_floating_point() or labels_N.is_complex():
        raise InputError(f"labels are {labels_N.dtype}; expected class numbers of integer dtype.")
    if isinstance(temperature, Tensor) or not 0 < temperature < math.inf:
        raise InputError(
            f"temperature is {temperature!r}; it must be a number above 0 (usual: 0.05 to 0.5)."
        )
    if impl != "auto" and impl not in IMPLEMENTATIONS:
        allowed = ", ".join(["auto", *IMPLEMENTATIONS])
        raise InputError(f"impl is {impl!r}; allowed: {allowed}.")


def _checked_rows(x_ND: Tensor, temperature: float, normalize: bool) -> Tensor:
    """The rows as they enter the loss; refuses those that cannot."""
    if len(x_ND) == 0:
        return x_ND
    largest_N = x_ND.detach().abs().amax(dim=1)
    _refuse(~largest_N.isfinite(), "is not finite")
    if not normalize:
        logit_N = x_ND.detach().square().sum(dim=1) / temperature
        _refuse(~logit_N.isfinite(), "is too long: its logit with itself overflows")
        return x_ND
    _refuse(largest_N == 0, "is all zeros and has no direction")
    x_ND = x_ND / largest_N[:, None]  # now no square can overflow or vanish
    norm_N1: Tensor = torch.linalg.vector_norm(x_ND, dim=1, keepdim=True)
    return x_ND / norm_N1


def _refuse(faulty_N: Tensor, what: str) -> None:
    if faulty_N.any():
        row = int(faulty_N.nonzero()[0, 0])
        raise InputError(
            f"embedding {row} of {len(faulty_N)} {what} ({int(faulty_N.sum())} such rows). "
            "Training may have diverged: lower the learning rate, and look at what the encoder "
            "gives for this row."
        )
