"""What an embedding is good for, in one call: neighbours, class means, retrieval, few shots.

Shape letters: T training rows, N test rows, D dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacvit.metrics._checks import checked_labels
from lacvit.metrics.clustering import clustering
from lacvit.metrics.estimate import Estimate, with_errors
from lacvit.metrics.neighbours import knn_accuracies
from lacvit.metrics.probes import few_shot_accuracy, nearest_class_mean_accuracy
from lacvit.metrics.retrieval import retrieval

Rows = NDArray[np.floating]

SHOTS = (1, 5)


def quality(
    train_features_TD: Rows,
    train_labels_T: NDArray[Any],
    features_ND: Rows,
    labels_N: NDArray[Any],
    *,
    extended: bool = False,
    seed: int = 0,
) -> dict[str, float]:
    """Measures by name, all 0 to 1 and better when higher (`ari` from -0.5).

    By default `knn_1`, `knn_5`, `knn_20` and `nearest_class_mean` (test images by training ones),
    and `recall_at_1`, `recall_at_10`, `map_at_r` (test images among themselves; left out where
    no class has two). Extended adds `few_shot_1` and `few_shot_5` (where every class has so many
    training rows) and `nmi`, `ari`. Where a figure rests on a sample or draws, its standard error
    stands beside it as `NAME_error`. For classes never trained on, give two halves of their images.

    Args:
        train_features_TD, features_ND: of one encoder, any floating dtype, no zero row.
        train_labels_T, labels_N: numbers or names, of one kind.
        extended: everything.
        seed: draws the samples.

    Raises:
        InputError: shapes that do not fit, no row, a zero or non-finite row (its index is named).
    """
    split = (train_features_TD, train_labels_T, features_ND, labels_N)
    found: dict[str, float | Estimate] = {
        f"knn_{k}": share for k, share in knn_accuracies(*split).items()
    }
    found["nearest_class_mean"] = nearest_class_mean_accuracy(*split)
    _, class_N = checked_labels(labels_N, len(features_ND))
    if np.bincount(class_N).max() > 1:
        of_test = retrieval(features_ND, labels_N, seed=seed)
        found |= {
            "recall_at_1": of_test.recall_at_1,
            "recall_at_10": of_test.recall_at_10,
            "map_at_r": of_test.map_at_r,
        }
    if extended:
        found |= _few_shots(*split, seed)
        if len(np.unique(class_N)) > 1:
            clusters = clustering(features_ND, labels_N, seed=seed)
            found |= {"nmi": clusters.nmi, "ari": clusters.ari}
    return with_errors(found)


def _few_shots(
    train_features_TD: Rows,
    train_labels_T: NDArray[Any],
    features_ND: Rows,
    labels_N: NDArray[Any],
    seed: int,
) -> dict[str, float | Estimate]:
    _, class_T = checked_labels(train_labels_T, len(train_features_TD))
    counts_C = np.bincount(class_T)
    return {
        f"few_shot_{shots}": few_shot_accuracy(
            train_features_TD, train_labels_T, features_ND, labels_N, shots=shots, seed=seed
        )
        for shots in SHOTS
        if counts_C.min() >= shots and len(counts_C) > 1
    }
