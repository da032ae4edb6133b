"""What a head's outputs are worth: losses and hits, row by row, and their means.

Shape letters: B rows of this process, N rows, C classes, D feature dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lacvit.distributed import Group, size_of
from lacvit.neighbour_head import NeighbourHead


def correct(logits_BC: Tensor, labels_B: Tensor) -> Tensor:
    """1 for each row whose largest logit is the label's, else 0; float32 (B,)."""
    return (logits_BC.argmax(1) == labels_B).float()


def smoothed_cross_entropy(logits_BC: Tensor, labels_B: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy of each row (B,), in float32 or better whatever autocast says."""
    logits_BC = logits_BC.to(torch.promote_types(logits_BC.dtype, torch.float32))
    return functional.cross_entropy(
        logits_BC, labels_B, label_smoothing=smoothing, reduction="none"
    )


@torch.no_grad()
def validation_scores(
    head: nn.Linear | NeighbourHead, features_ND: Tensor, labels_N: Tensor
) -> dict[str, float]:
    """Accuracy and cross-entropy, without smoothing, of a head on features of any device."""
    device = next(iter(head.state_dict().values())).device
    logits_NC, labels_N = head(features_ND.to(device)), labels_N.to(device)
    return {
        "validation_accuracy": correct(logits_NC, labels_N).mean().item(),
        "validation_loss": smoothed_cross_entropy(logits_NC, labels_N, 0.0).mean().item(),
    }


def share_of_mean(values_B: Tensor, rows: int, group: Group) -> Tensor:
    """This process's term of the mean over ``rows`` rows, of which it holds B (0 is allowed).

    The mean of all processes' terms, and of their gradients, is the mean over all rows and its
    gradient, however unequal the shares. A process alone holds all rows.
    """
    return values_B.sum() / (rows / size_of(group))
