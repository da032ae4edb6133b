"""The supervised contrastive loss as its equation reads: dense, any dtype, the truth in tests.

Shape letters: N embeddings (views), R of them this process's, D dimensions, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lacvit.losses.batch import Batch


def reference_supcon(z_RD: Tensor, batch: Batch) -> Tensor:
    """`dense_supcon` of all rows; the gradient is that of this process's."""
    return dense_supcon(
        batch.with_graph(z_RD), batch.class_index_N, batch.class_counts_K, batch.temperature
    )


def dense_supcon(
    z_ND: Tensor, class_index_N: Tensor, class_counts_K: Tensor, temperature: float
) -> Tensor:
    """Mean over anchors of ``logsumexp_{a != i}(z_i.z_a / t) - mean_{p in P(i)} z_i.z_p / t``.

    Khosla et al. 2020 (arXiv 2004.11362), equation 2 (L_out), averaged over the anchors that have
    a positive. P(i): the other rows of i's class. Time O(N N D), memory several N x N. Call
    ``backward`` outside autocast, which would do the backward products in half precision.

    Args:
        z_ND: floating; the arithmetic is done in this dtype. No row is normalised here.
        class_index_N: int64, 0 to K-1.
        class_counts_K: int64, rows of each class; at least one class has two.
        temperature: divides the cosines.
    """
    n = len(z_ND)
    itself_NN = torch.eye(n, dtype=torch.bool, device=z_ND.device)
    positive_NN = (class_index_N[:, None] == class_index_N[None, :]) & ~itself_NN
    n_positives_N = class_counts_K[class_index_N] - 1
    is_anchor_N = n_positives_N > 0

    logits_NN = z_ND @ z_ND.T / temperature
    log_denominator_N = logits_NN.masked_fill(itself_NN, -torch.inf).logsumexp(dim=1)
    positives_sum_N = (logits_NN * positive_NN).sum(dim=1)
    per_anchor_N = log_denominator_N - positives_sum_N / n_positives_N.clamp(min=1)
    return per_anchor_N[is_anchor_N].mean()
