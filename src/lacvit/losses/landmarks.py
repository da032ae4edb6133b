"""Two values between which a supervised contrastive loss usually moves: its start and its floor.

SupCon does not end at 0, and where it ends depends on the batch: on its own the logged number says
little. Shape letter: N embeddings (views).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lacvit.errors import InputError


def supcon_start(n_embeddings: int) -> float:
    """The loss of embeddings that tell nothing apart: ``ln(N - 1)``, at every temperature.

    Attained when all cosines between different rows are equal (all rows identical, or all
    orthogonal). A landmark, not a bound: views of one image that lie closer to one another than to
    the rest start below it, classes that repel their own start above.

    Args:
        n_embeddings: rows of the batch (images times views); below 2 there is no pair, and the
            start is 0 as the loss is.
    """
    return math.log(n_embeddings - 1) if n_embeddings > 1 else 0.0


def supcon_floor(labels_N: Tensor, temperature: float) -> float:
    """The loss of this batch when every class is one point and the K points form a simplex.

    Mean over the rows with a positive of ``ln(n_pos + n_neg exp(-K / ((K - 1) t)))``, where the
    K classes of the batch meet at cosine ``-1 / (K - 1)`` and n_pos, n_neg count the row's
    positives and negatives. For equally large classes and D >= K - 1 it is the minimum over all
    unit vectors (Graf et al. 2021, arXiv 2102.08817). With unequal classes it is a landmark: there
    other angles can lie a little below it, and with D < K - 1 it cannot be reached.
    2.94458 for 10 classes of 20 at t = 0.1.

    Args:
        labels_N: any integer dtype. Without a row that has a positive the floor is 0, as the
            loss is.
        temperature: above 0.

    Raises:
        InputError: labels that are not one-dimensional, a temperature that is not above 0.
    """
    if labels_N.ndim != 1:
        raise InputError(f"labels have shape {tuple(labels_N.shape)}; give one label a row: (N,).")
    if not temperature > 0:
        raise InputError(f"temperature is {temperature}; it must be above 0 (usual: 0.05 to 0.5).")
    counts_K = torch.unique(labels_N.cpu().to(torch.int64), return_counts=True)[1].double()
    n, n_classes = len(labels_N), len(counts_K)
    apart = math.exp(-n_classes / ((n_classes - 1) * temperature)) if n_classes > 1 else 0.0
    anchors_K = counts_K * (counts_K > 1)
    if anchors_K.sum() == 0:
        return 0.0
    value_K = torch.log(((counts_K - 1) + (n - counts_K) * apart).clamp(min=1e-300))
    return float((anchors_K * value_K).sum() / anchors_K.sum())
