"""Stage 2 without weights: the nearest training images vote, and validation chooses how many.

Shape letters: N images, D feature dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lacvit.neighbour_head import NeighbourHead
from lacvit.training.head import LabelledFeatures, joined
from lacvit.training.heads import Heads
from lacvit.training.scores import validation_scores

NEIGHBOURS = (1, 3, 5, 10, 20, 50)


@dataclass(frozen=True)
class ChosenNeighbours:
    """How many images vote, and how that was chosen."""

    classes: int
    k: int
    tried: tuple[dict[str, float], ...]  # one row a k: k, validation_accuracy, validation_loss


def choose_neighbours(
    train: LabelledFeatures, validation: LabelledFeatures, *, classes: int
) -> ChosenNeighbours:
    """The k of `NEIGHBOURS` with the best validation accuracy; among equals the smallest.

    A k above the number of training images is not tried: it would mean all of them.
    """
    tried = []
    features_ND = torch.from_numpy(validation.features_ND)
    labels_N = torch.tensor(validation.labels_N)
    for k in NEIGHBOURS:
        if k > len(train.labels_N):
            break
        head = neighbour_head(train, classes=classes, k=k)
        tried.append({"k": float(k), **validation_scores(head, features_ND, labels_N)})
    best = max(tried, key=lambda row: row["validation_accuracy"])
    return ChosenNeighbours(classes, int(best["k"]), tuple(tried))


def neighbour_head(train: LabelledFeatures, *, classes: int, k: int) -> NeighbourHead:
    """The head whose gallery is the features, on the CPU."""
    features_ND, labels_N = torch.from_numpy(train.features_ND), torch.tensor(train.labels_N)
    return NeighbourHead(features_ND, labels_N, classes=classes, k=k)


def neighbour_heads(
    train: LabelledFeatures,
    validation: LabelledFeatures,
    chosen: ChosenNeighbours,
    *,
    both: bool,
    device: torch.device,
) -> Heads:
    """The heads on ``device``; with ``both`` the final one looks among validation images too."""
    final, judged = (
        neighbour_head(split, classes=chosen.classes, k=chosen.k).to(device)
        for split in (joined(train, validation) if both else train, train)
    )
    return Heads(final, judged)
