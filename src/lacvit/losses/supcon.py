"""The supervised contrastive loss: what users call. Checks, convention, choice of implementation.

Shape letters: N embeddings (views of all images), D dimensions, K classes in this batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Literal, overload

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from lacvit.errors import InputError
from lacvit.losses.batch import Batch, averaged_later, gather_batch, meet
from lacvit.losses.hard_negatives import check_weighting, weighted_supcon
from lacvit.losses.reference import reference_supcon
from lacvit.losses.rows import enter
from lacvit.losses.tiled import tiled_supcon

# (z_RD with its graph, the batch of all processes) -> scalar; z in float32 or float64, and at
# least one row of the batch with a positive.
Implementation = Callable[[Tensor, Batch], Tensor]


def _load_fused() -> ModuleType:
    try:  # here, since Triton is installed with CUDA builds of torch only, and slow to import
        from lacvit.losses import fused
    except ModuleNotFoundError as missing:
        if missing.name is None or not missing.name.startswith("triton"):
            raise
        raise InputError(
            "impl is 'fused', which needs Triton, and it is not installed: "
            "pip install 'triton>=3' (Linux), or choose impl='tiled'."
        ) from missing
    return fused


def _fused_supcon(z_RD: Tensor, batch: Batch) -> Tensor:
    loss: Tensor = _load_fused().fused_supcon(z_RD, batch)
    return loss


IMPLEMENTATIONS: dict[str, Implementation] = {
    "reference": reference_supcon,
    "tiled": tiled_supcon,
    "fused": _fused_supcon,
}

# For few rows too: the dense one would save 0.1 ms below 128 (D = 128), but rounds its gradient if
# autocast is on when backward is called. Not "fused": no GPU has timed it yet.
AUTO = "tiled", "exact, in memory that grows with the rows alone, on any device"


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
    group: ProcessGroup | None = None,
    negative_weighting: float = 0.0,
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
    group: ProcessGroup | None = None,
    negative_weighting: float = 0.0,
    return_details: Literal[True],
) -> tuple[Tensor, LossDetails]: ...
def supcon_loss(
    embeddings_ND: Tensor,
    labels_N: Tensor,
    *,
    temperature: float = 0.1,
    normalize: bool = True,
    impl: str = "auto",
    group: ProcessGroup | None = None,
    negative_weighting: float = 0.0,
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
        embeddings_ND: any floating dtype from 16 bits up. The arithmetic is done in float32, or
            float64 for float64 input, whatever autocast says; the gradient comes back in the
            input's dtype.
        labels_N: any integer dtype (or bool), any values; on another device they are moved.
        temperature: divides the cosines.
        normalize: bring the rows to unit length first. Say False only where they have it; rows
            that do not are then used as they are.
        impl: "auto", or a name in ``IMPLEMENTATIONS``; all give the same value.
        group: the processes whose rows make up one batch, each calling with its own: any number of
            rows, none included. Every process gets the loss of the whole batch, and its gradient
            so that the average over the processes (DistributedDataParallel's) is the gradient of
            a single process with all rows. None: this process alone, whatever is initialised.
        negative_weighting: beta of `weighted_supcon`: near negatives weigh more (0.5 to 2 are
            usual). 0 is SupCon.
        return_details: also give a `LossDetails` (on a GPU this waits for the counts).

    Returns:
        A scalar in float32 or float64; or the scalar and its details.

    Raises:
        InputError: wrong shape or dtype, a temperature that is not above 0 or so low that logits
            overflow, an unknown ``impl``, an ``impl`` beside weighted negatives; a row with NaN or
            infinity (`Diverged`), or (under ``normalize``) of zeros: its index is named. In a
            group every process raises it, and names the process; so do processes that disagree on
            anything that must be alike. A second derivative of a loss over a group.
    """
    if torch.compiler.is_compiling():  # what it does depends on the data: run it as it stands
        compute: Callable[..., Tensor | tuple[Tensor, LossDetails]] = torch.compiler.disable(
            _supcon_loss
        )
    else:
        compute = _supcon_loss
    rows = embeddings_ND, labels_N, temperature, normalize
    return compute(*rows, impl, group, negative_weighting, return_details)


def _supcon_loss(
    embeddings_RD: Tensor,
    labels_R: Tensor,
    temperature: float,
    normalize: bool,
    impl: str,
    group: ProcessGroup | None,
    negative_weighting: float,
    return_details: bool,
) -> Tensor | tuple[Tensor, LossDetails]:
    def enter_here() -> tuple[Tensor, Tensor]:
        _check_implementation(impl)
        check_weighting(negative_weighting, impl)
        z_RD, labels = enter(embeddings_RD, labels_R, temperature, normalize)
        if impl == "fused":  # before the exchange, so that no process waits for one that cannot
            _load_fused().refuse_what_kernels_cannot(z_RD.device, z_RD.dtype)
        return z_RD, labels

    alike = {
        "loss": "supcon",
        "temperature": temperature,
        "normalize": normalize,
        "impl": impl,
        "negative_weighting": negative_weighting,
    }
    z_RD, labels_R, block = meet(enter_here, group, alike)
    batch = gather_batch(z_RD, labels_R, float(temperature), embeddings_RD.dtype, block)
    name, reason = AUTO if impl == "auto" else (impl, "asked for")
    compute = IMPLEMENTATIONS[name]
    if negative_weighting:
        name, reason = "weighted", f"negative_weighting is {negative_weighting}"
        compute = partial(weighted_supcon, beta=float(negative_weighting))
    with torch.autocast(z_RD.device.type, enabled=False):
        if batch.n_anchors == 0:
            loss = (z_RD * 0.0).sum()
        else:
            loss = averaged_later(compute(z_RD, batch), block)
    if not return_details:
        return loss
    return loss, LossDetails(name, reason, batch.n_anchors, len(batch.z_ND) - batch.n_anchors)


def _check_implementation(impl: str) -> None:
    if not isinstance(impl, str) or impl not in ("auto", *IMPLEMENTATIONS):
        allowed = ", ".join(["auto", *IMPLEMENTATIONS])
        raise InputError(f"impl is {impl!r}; allowed: {allowed}.")
