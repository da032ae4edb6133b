"""The modules that sit on a backbone: the projection head of stage 1, the linear task head."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ProjectionHead(nn.Sequential):
    """Linear, ReLU, Linear: features (B, D) -> projections (B, dim), not normalised.

    LaCViT and Khosla et al. 2020 use hidden = D and dim = 128; it is dropped after stage 1.
    """

    def __init__(self, features: int, hidden: int, dim: int) -> None:
        super().__init__(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, dim))


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


def top1(logits_BC: Tensor, labels_B: Tensor) -> float:
    """Share of rows whose largest logit is the label's."""
    return (logits_BC.argmax(1) == labels_B).float().mean().item()


def smoothed_cross_entropy(logits_BC: Tensor, labels_B: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy in float32, whatever autocast says."""
    return functional.cross_entropy(logits_BC.float(), labels_B, label_smoothing=smoothing)
