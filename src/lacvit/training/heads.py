"""The modules that sit on a backbone: the projection head of stage 1, the linear task head."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lacvit.config import ContrastSettings
from lacvit.neighbour_head import NeighbourHead


class ProjectionHead(nn.Sequential):
    """Linear, ReLU, Linear: features (B, D) -> projections (B, dim), not normalised.

    LaCViT and Khosla et al. 2020 use hidden = D and dim = 128; it is dropped after stage 1.
    """

    def __init__(self, features: int, hidden: int, dim: int) -> None:
        super().__init__(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, dim))


def projection_for(features: int, settings: ContrastSettings) -> ProjectionHead:
    """The projection that the settings ask for on features (B, ``features``)."""
    hidden = settings.projection_hidden
    return ProjectionHead(
        features, features if hidden == "auto" else hidden, settings.projection_dim
    )


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
