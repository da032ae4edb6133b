"""The modules that sit on a backbone: the projection head of stage 1, the linear task head."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lacvit.distributed import Group, size_of
from lacvit.neighbour_head import NeighbourHead


class ProjectionHead(nn.Sequential):
    """Linear, ReLU, Linear: features (B, D) -> projections (B, dim), not normalised.

    LaCViT and Khosla et al. 2020 use hidden = D and dim = 128; it is dropped after stage 1.
    """

    def __init__(self, features: int, hidden: int, dim: int) -> None:
        super().__init__(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, dim))


@dataclass(frozen=True)
class Heads:
    """The head that a run ends with, and what validation images may say of it.

    Attributes:
        final: the model's.
        judged: the same, but fitted without the validation images; where ``final`` has not seen
            them either, it is that one.
    """

    final: nn.Linear | NeighbourHead
    judged: nn.Linear | NeighbourHead


def fresh_head(features: int, classes: int) -> nn.Linear:
    """A linear head with small random weights and no bias to any class."""
    head = nn.Linear(features, classes)
    nn.init.trunc_normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    return head


def head_from(weight_CD: Tensor, bias_C: Tensor) -> nn.Linear:
    """A linear head with the given weights, copied as float32."""
    head = nn.Linear(weight_CD.shape[1], weight_CD.shape[0])
    with torch.no_grad():
        head.weight.copy_(weight_CD)
        head.bias.copy_(bias_C)
    return head


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


def global_mean(values_B: Tensor, rows: int, group: Group) -> Tensor:
    """This process's term of the mean over ``rows`` rows, of which it holds B (0 is allowed).

    The mean of all processes' terms, and of their gradients, is the mean over all rows and its
    gradient, however unequal the shares. A process alone holds all rows.
    """
    return values_B.sum() / (rows / size_of(group))
