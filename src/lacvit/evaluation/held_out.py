"""What an encoder makes of classes that it was never trained on: ``held_out.json``.

Shape letters: T training images, N test images (both of known classes), M held-out images,
C known classes, D feature dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lacvit.arms import UNTOUCHED
from lacvit.metrics.clustering import clustering
from lacvit.metrics.estimate import Estimate, with_errors
from lacvit.metrics.neighbours import knn_accuracies
from lacvit.metrics.novelty import (
    NEIGHBOURS,
    neighbour_familiarity,
    novelty_auroc,
    top_probability,
)
from lacvit.metrics.retrieval import retrieval

Array = npt.NDArray[Any]

KS = (1, 5)  # neighbours: held-out classes may have few images
ONE_CLASS = "one held-out class: every neighbour among its images is of it"
# What is told first, by name in the file.
TITLES = {
    "knn_1": "k-NN, k = 1",
    "knn_5": "k-NN, k = 5",
    "recall_at_1": "R@1",
    "map_at_r": "MAP@R",
    "nmi": "NMI",
    "novelty_auroc": "AUROC by neighbours",
}


@dataclass(frozen=True)
class SeenAndUnseen:
    """One encoder's features, float32: (T, D), (N, D) and (M, D)."""

    train_TD: Array
    known_ND: Array
    held_out_MD: Array


def measure_held_out(
    embeddings: Mapping[str, SeenAndUnseen],
    labels_M: Array,
    class_names: Sequence[str],
    train_labels_T: Array,
    probabilities: tuple[Array, Array],
    *,
    seed: int = 0,
) -> dict[str, object]:
    """What ``held_out.json`` says.

    Of each encoder, among the held-out images alone: ``knn_1`` and ``knn_5`` (each half of every
    class labelled by the other half, drawn by the seed), ``recall_at_1`` and ``map_at_r`` (each
    image among all others), ``nmi`` (k-means without labels). They are not defined for a single
    class, which ``left_out`` then says. ``novelty_auroc`` is how well the cosine with the k-th
    nearest training image tells test images of known classes from held-out ones;
    ``head_novelty_auroc`` the same of the head's largest probability. All lie between 0 and 1, and
    an AUROC of 0.5 tells nothing.

    Args:
        embeddings: by the stage that they come after, ``untouched`` first.
        labels_M: positions in ``class_names`` of the held-out images, two of each at least.
        class_names: of the held-out classes.
        train_labels_T: class numbers of the training images; the smallest class decides k, which
            is half of it and 50 at most.
        probabilities: of the final model, (N, C) and (M, C).
        seed: draws the halves, the samples and the starts.
    """
    counts = np.bincount(train_labels_T)
    k = int(np.clip(counts[counts > 0].min() // 2, 1, NEIGHBOURS))
    known_NC, held_out_MC = probabilities
    return {
        "class_names": list(class_names),
        "images": len(labels_M),
        "known_images": len(known_NC),
        "neighbour": k,
        "embeddings": {
            name: {
                **_quality(features.held_out_MD, labels_M, seed),
                "novelty_auroc": novelty_auroc(
                    neighbour_familiarity(features.train_TD, features.known_ND, k=k),
                    neighbour_familiarity(features.train_TD, features.held_out_MD, k=k),
                ),
            }
            for name, features in embeddings.items()
        },
        "head_novelty_auroc": novelty_auroc(
            top_probability(known_NC), top_probability(held_out_MC)
        ),
        **({"left_out": ONE_CLASS} if len(class_names) < 2 else {}),
    }


def _quality(features_MD: Array, labels_M: Array, seed: int) -> dict[str, float]:
    if len(np.unique(labels_M)) < 2:
        return {}
    first_M = _first_half(labels_M, seed)
    one, other = ((features_MD[chosen], labels_M[chosen]) for chosen in (first_M, ~first_M))
    here, there = knn_accuracies(*one, *other, ks=KS), knn_accuracies(*other, *one, ks=KS)
    share = len(other[1]) / len(labels_M)  # of the images, labelled by the first half
    found: dict[str, float | Estimate] = {
        f"knn_{k}": share * here[k] + (1 - share) * there[k] for k in KS
    }
    among = retrieval(features_MD, labels_M, seed=seed)
    found |= {"recall_at_1": among.recall_at_1, "map_at_r": among.map_at_r}
    found["nmi"] = clustering(features_MD, labels_M, seed=seed).nmi
    return with_errors(found)


def _first_half(labels_M: Array, seed: int) -> npt.NDArray[np.bool_]:
    """One half of the images of each class, drawn: neighbours in a folder are often alike."""
    rng = np.random.default_rng(seed)
    first_M = np.zeros(len(labels_M), dtype=bool)
    for label in np.unique(labels_M):
        of_class = rng.permutation(np.flatnonzero(labels_M == label))
        first_M[of_class[: len(of_class) // 2]] = True
    return first_M


def in_words(figures: Mapping[str, Any]) -> list[str]:
    """What ``held_out.json`` comes to, a line a finding, for the end of a run."""
    before = figures["embeddings"][UNTOUCHED]
    name, after = list(figures["embeddings"].items())[-1]
    trained = name != UNTOUCHED

    def told(key: str) -> str:
        was = f" (untouched {before[key]:.3f})" if trained else ""
        return f"{TITLES[key]} {after[key]:.3f}{was}"

    names = figures["class_names"]
    listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    kept = [key for key in TITLES if key in after and key != "novelty_auroc"]
    found = "; ".join(map(told, kept)) or f"not measured among themselves ({figures['left_out']})"
    return [
        f"Never trained on: {listed}, {figures['images']} images: {found}.",
        f"Told from {figures['known_images']} test images of known classes: "
        f"{told('novelty_auroc')}, by the head's probability "
        f"{figures['head_novelty_auroc']:.3f}; 0.5 tells nothing.",
    ]
