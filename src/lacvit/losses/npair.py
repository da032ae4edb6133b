"""The multi-class N-pair loss on the views of labelled images.

Shape letters: N embeddings (views), D dimensions, A pairs, B pairs of one block.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.nn import functional

from lacvit.losses.batch import Batch
from lacvit.losses.entry import loss_of_all
from lacvit.losses.row_blocks import log_sum_exp, mean_over_rows


def npair_loss(
    embeddings_ND: Tensor,
    labels_N: Tensor,
    *,
    temperature: float = 0.1,
    normalize: bool = True,
    group: ProcessGroup | None = None,
) -> Tensor:
    """N-pair-mc (Sohn 2016, Improved deep metric learning with multi-class N-pair loss objective).

    ``mean_i log [ 1 + sum_{j: y_j != y_i} exp((f_i.g_j - f_i.g_i) / t) ]`` over pairs (f_i, g_i) of
    rows of one class, f_i the anchor and g_i its positive. The negatives of an anchor are the
    positives of the other classes' pairs: anchors are compared with positives only. With one
    pair a class this is Sohn's equation; a batch with several pairs a class would count a
    class as its own negative there, so those are left out here.

    How views enter: of the m rows of a class, in their order, row r is an anchor and row
    r + m // 2 its positive (for an odd m the last row is in no pair). No row is in two pairs, as
    in Sohn's batches. With the views of an image side by side and two images or more, a pair is two
    images; an image alone in its class is paired with its own other view.

    Sohn's embeddings have any length, held small by a penalty, and no temperature: that is
    ``npair_loss(x, y, temperature=1, normalize=False) + l2 * x.square().sum(1).mean()``. The
    defaults here are SupCon's, so that the two differ in the loss and in nothing else.

    No class with two rows: 0 with a gradient of zeros; so does a batch with pairs of one class.
    Memory O(N D), rows in blocks; with a group (its rows in the order of ranks) each process
    computes the whole loss. Args, dtypes and errors: as `supcon_loss`.
    """
    return loss_of_all(
        "npair",
        _npair,
        embeddings_ND,
        labels_N,
        temperature=temperature,
        normalize=normalize,
        group=group,
    )


def _npair(z_ND: Tensor, batch: Batch) -> Tensor:
    anchor_A, positive_A = find_pairs(batch.class_index_N)
    if len(anchor_A) == 0:
        return (z_ND * 0.0).sum()
    class_A = batch.class_index_N[anchor_A]

    def row_loss(logits_BA: Tensor, which_B: Tensor) -> Tensor:
        other_BA = class_A[which_B, None] != class_A
        own_B = logits_BA.gather(1, which_B[:, None])[:, 0]
        # log [1 + n / e] = -log sigmoid(log e - log n)
        return -functional.logsigmoid(own_B - log_sum_exp(logits_BA, other_BA))

    return mean_over_rows(row_loss, z_ND[anchor_A], z_ND[positive_A], batch.temperature)


def find_pairs(labels_N: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of the anchors and of their positives, (A,) each: row r of a class with r + m // 2."""
    order_N = torch.argsort(labels_N, stable=True)
    _, counts_K = torch.unique_consecutive(labels_N[order_N], return_counts=True)
    place_N = torch.arange(len(labels_N), device=labels_N.device)
    half_N = (counts_K // 2).repeat_interleave(counts_K)
    rank_N = place_N - (counts_K.cumsum(0) - counts_K).repeat_interleave(counts_K)
    first_A = place_N[rank_N < half_N]
    return order_N[first_A], order_N[first_A + half_N[first_A]]
