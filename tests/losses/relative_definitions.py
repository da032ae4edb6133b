"""SupCon's relatives as their papers print them: one anchor after the other, in plain exponentials.

In float64 and for unit rows, ``exp(3 z.z / t)`` holds down to a temperature of 0.005. Nothing here
comes from lacvit. Shape letters: N embeddings (views), D dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor


def mean(terms: list[Tensor], z_ND: Tensor) -> Tensor:
    return torch.stack(terms).mean() if terms else 0 * z_ND.sum()


def positives_and_negatives(labels_N: Tensor, i: int) -> tuple[Tensor, Tensor]:
    same_N = labels_N == labels_N[i]
    itself_N = torch.arange(len(labels_N)) == i
    return (same_N & ~itself_N).nonzero()[:, 0], (~same_N).nonzero()[:, 0]


def sincere(z_ND: Tensor, labels_N: Tensor, temperature: float) -> Tensor:
    """Feeney and Hughes 2023: each positive against the negatives, without the other positives."""
    terms = []
    for i in range(len(z_ND)):
        positives, negatives = positives_and_negatives(labels_N, i)
        if len(positives):
            e_N = (z_ND[i] @ z_ND.T / temperature).exp()
            share_P = e_N[positives] / (e_N[positives] + e_N[negatives].sum())
            terms.append(-share_P.log().mean())
    return mean(terms, z_ND)


def hard_negatives(z_ND: Tensor, labels_N: Tensor, temperature: float, beta: float) -> Tensor:
    """SupCon whose negatives carry the weights of Robinson et al. 2021, equation of section 3."""
    terms = []
    for i in range(len(z_ND)):
        positives, negatives = positives_and_negatives(labels_N, i)
        if len(positives):
            e_N = (z_ND[i] @ z_ND.T / temperature).exp()
            hardness_M = e_N[negatives] ** beta
            weight_M = len(negatives) * hardness_M / hardness_M.sum()
            denominator = e_N[positives].sum() + (weight_M * e_N[negatives]).sum()
            terms.append(-(e_N[positives] / denominator).log().mean())
    return mean(terms, z_ND)


def npair(z_ND: Tensor, labels_N: Tensor, temperature: float) -> Tensor:
    """Sohn 2016, N-pair-mc; the pairs are made class by class, as the docstring says in words."""
    pairs = []
    for label in sorted(set(labels_N.tolist())):
        rows = [i for i, own in enumerate(labels_N.tolist()) if own == label]
        half = len(rows) // 2
        pairs += [(label, rows[r], rows[r + half]) for r in range(half)]
    terms = []
    for label, anchor, positive in pairs:
        own = z_ND[anchor] @ z_ND[positive] / temperature
        others = [g for other, _, g in pairs if other != label]
        differences = [(z_ND[anchor] @ z_ND[g] / temperature - own).exp() for g in others]
        total = torch.stack(differences).sum() if differences else 0 * own
        terms.append(torch.log(1 + total))
    return mean(terms, z_ND)


def nt_xent(z_ND: Tensor, image_ids_N: Tensor, temperature: float) -> Tensor:
    """Chen et al. 2020, equation 1, for each row and each other view of its image."""
    terms = []
    for i in range(len(z_ND)):
        partners, _ = positives_and_negatives(image_ids_N, i)
        if len(partners):
            e_N = (z_ND[i] @ z_ND.T / temperature).exp()
            denominator = e_N[[a for a in range(len(z_ND)) if a != i]].sum()
            terms.append(-(e_N[partners] / denominator).log().mean())
    return mean(terms, z_ND)
