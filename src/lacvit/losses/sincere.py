"""SINCERE: SupCon with the other positives taken out of each denominator.

Shape letters: N embeddings (views), D dimensions, B anchors of one block.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor
from torch.distributed import ProcessGroup
from torch.nn import functional

from lacvit.losses.entry import loss_of_all
from lacvit.losses.row_blocks import log_sum_exp, mean_over_anchors


def sincere_loss(
    embeddings_ND: Tensor,
    labels_N: Tensor,
    *,
    temperature: float = 0.1,
    normalize: bool = True,
    group: ProcessGroup | None = None,
) -> Tensor:
    """Supervised InfoNCE revisited (Feeney and Hughes 2023, arXiv 2309.14277).

    ``mean_i mean_{p in P(i)} -log [ e_ip / (e_ip + sum_{n in N(i)} e_in) ]`` with unit rows z,
    ``e_ij = exp(z_i.z_j / t)``, P(i) the other rows with i's label, N(i) the rows with another
    one, and i over the rows where P(i) is not empty. In SupCon each positive of i stands in the
    denominators of the others, which pushes it away from i; here none does, and the loss can
    reach 0. With one positive a row (two views, no label twice) the two losses are one.

    The sum over negatives runs over them alone: all minus the positives would cancel. Memory
    O(N D): rows are looked at in blocks.

    A row without a positive is left out of the mean, as in `supcon_loss`. A batch where no row
    has a positive gives 0 with a gradient of zeros, and so does a batch of one class.

    Args, dtypes and errors: as `supcon_loss`. With a group each process computes the whole loss.
    """
    return loss_of_all(
        "sincere",
        partial(mean_over_anchors, _sincere),
        embeddings_ND,
        labels_N,
        temperature=temperature,
        normalize=normalize,
        group=group,
    )


def _sincere(logits_BN: Tensor, positive_BN: Tensor, negative_BN: Tensor) -> Tensor:
    log_negatives_B = log_sum_exp(logits_BN, negative_BN)
    # -log [e / (e + n)] = -log sigmoid(log e - log n)
    pair_BN = -functional.logsigmoid(logits_BN - log_negatives_B[:, None])
    return pair_BN.masked_fill(~positive_BN, 0).sum(dim=1) / positive_BN.sum(dim=1)
