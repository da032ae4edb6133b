"""A task head without weights: the labelled features that a classifier looks its answers up in.

Shape letters: T gallery rows, B rows asked for, C classes, D feature dimensions, K neighbours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lacvit.metrics.neighbours import SHARP

TILE = 2**26  # cosines at a time, float32
SMALLEST_SHARE = 1e-6  # a class that no neighbour is of; its logarithm is to be finite


class NeighbourHead(nn.Module):
    """Cosine k-nearest neighbours with weighted votes.

    It answers as :func:`lacvit.metrics.neighbours.knn_predict` does: each of the k nearest gallery
    rows votes for its class by ``exp(cosine / 0.07)`` (Wu et al. 2018, arXiv 1805.01978). Features
    (B, D) -> logarithms of the classes' shares of the votes, float32 (B, C): their softmax is the
    shares, save that none is below ``SMALLEST_SHARE``. Dividing them by a temperature other than 1
    sharpens or flattens the shares, as it does any logits. Equal votes go to the smallest class.
    There is no gradient.

    Args:
        features_TD: any floating dtype; kept as unit rows in float32.
        labels_T: int64 class ids, 0 to ``classes - 1``.
        classes: C.
        k: neighbours; more than T means all T.
    """

    gallery_TD: Tensor
    labels_T: Tensor

    def __init__(self, features_TD: Tensor, labels_T: Tensor, *, classes: int, k: int) -> None:
        super().__init__()
        self.classes, self.k = classes, k
        self.register_buffer("gallery_TD", functional.normalize(features_TD.float(), dim=1))
        self.register_buffer("labels_T", labels_T.clone())

    @torch.no_grad()
    def forward(self, features_BD: Tensor) -> Tensor:
        rows = max(1, TILE // len(self.gallery_TD))
        return torch.cat([self._log_shares(tile) for tile in features_BD.split(rows)])

    def _log_shares(self, features_BD: Tensor) -> Tensor:
        cosine_BT = functional.normalize(features_BD.float(), dim=1) @ self.gallery_TD.T
        cosine_BK, row_BK = cosine_BT.topk(min(self.k, len(self.gallery_TD)), dim=1)
        weight_BK = (cosine_BK / SHARP).softmax(dim=1)
        share_BC = weight_BK.new_zeros(len(features_BD), self.classes)
        share_BC.scatter_add_(1, self.labels_T[row_BK], weight_BK)
        return share_BC.clamp(min=SMALLEST_SHARE).log()
