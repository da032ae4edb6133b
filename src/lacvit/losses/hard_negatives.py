"""SupCon with its negatives weighted by how near they are to the anchor.

Shape letters: N rows of all processes, R of them this process's, D dimensions, B anchors of one
block.
"""

from __future__ import annotations

from functools import partial
from numbers import Real

import torch
from torch import Tensor
from torch.nn import functional

from lacvit.errors import InputError
from lacvit.losses.batch import Batch
from lacvit.losses.row_blocks import log_sum_exp, mean_over_anchors

LARGEST = 1e4  # beyond, float32 has no digits left for the difference of two sums' gradients


def weighted_supcon(z_RD: Tensor, batch: Batch, beta: float) -> Tensor:
    """``supcon_loss(negative_weighting=beta)`` for a beta that is not 0.

    SupCon whose denominators are ``sum_{p in P(i)} e_ip + sum_{n in N(i)} w_in e_in``, with
    ``e_ij = exp(z_i.z_j / t)`` and ``w_in = |N(i)| e_in^beta / sum_{m in N(i)} e_im^beta``: of
    mean 1 over the negatives of i, larger the nearer they are, and all 1 at beta = 0. The
    weights of Robinson et al. 2021 (arXiv 2010.04592), with labels for the positives, so that
    nothing is to be debiased (their tau+ is 0): H-SCL (Jiang et al. 2022, arXiv 2209.00078), and
    the contrast of CLCE (Long et al. 2024, arXiv 2402.14551). The gradient goes through the
    weights too, as in Robinson's code. Never below SupCon, and equal to it where all negatives
    of each anchor are equally near.

    ``log sum_n w e = log |N| + L(1 + beta) - L(beta)`` with ``L(c) = log sum_n e_in^c``: two sums
    instead of one. Memory O(N D), rows in blocks; each process of a group computes the whole loss.
    """
    return mean_over_anchors(partial(_weighted, beta), batch.with_graph(z_RD), batch)


def check_weighting(negative_weighting: float, impl: str) -> None:
    """Refuses what cannot be a beta, and an implementation that has none."""
    if not isinstance(negative_weighting, Real) or not 0 <= negative_weighting <= LARGEST:
        raise InputError(
            f"negative_weighting is {negative_weighting!r}; it must be a number from 0 up to "
            f"{LARGEST:g} (0: SupCon; usual: 0.5 to 2)."
        )
    if negative_weighting and impl != "auto":
        raise InputError(
            f"impl is {impl!r} and negative_weighting {negative_weighting}: weighted negatives "
            "have one implementation. Leave impl at 'auto', or the weighting at 0."
        )


def _weighted(beta: float, logits_BN: Tensor, positive_BN: Tensor, negative_BN: Tensor) -> Tensor:
    log_positives_B = log_sum_exp(logits_BN, positive_BN)
    # From the nearest negative down, so that beta multiplies no large logit.
    nothing = torch.finfo(logits_BN.dtype).min / 4
    nearest_B = logits_BN.detach().masked_fill(~negative_BN, nothing).amax(dim=1)
    below_BN = (logits_BN - nearest_B[:, None]).masked_fill(~negative_BN, 0)
    log_negatives_B = (
        negative_BN.sum(dim=1).to(logits_BN.dtype).log()
        + nearest_B
        + log_sum_exp((1 + beta) * below_BN, negative_BN)
        - log_sum_exp(beta * below_BN, negative_BN)
    )
    mean_positive_B = logits_BN.masked_fill(~positive_BN, 0).sum(dim=1) / positive_BN.sum(dim=1)
    # As logaddexp, whose second derivative is NaN where one of the two is as good as nothing.
    more_B = functional.softplus(log_negatives_B - log_positives_B, threshold=50)
    return log_positives_B + more_B - mean_positive_B
