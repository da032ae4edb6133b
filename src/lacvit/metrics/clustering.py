"""Whether the classes can be found without labels: k-means on the embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from lacvit.errors import InputError
from lacvit.metrics._checks import checked_labels
from lacvit.metrics._passes import unit_rows
from lacvit.metrics.estimate import sampled_rows

CLUSTERED_ROWS = 20_000
STARTS = 10


@dataclass(frozen=True)
class Clustering:
    """Agreement of clusters with classes; 1 where they are the same."""

    nmi: float
    """Normalised mutual information ``2 I / (H + H)``, 0 to 1; above 0 for chance, the more so
    the more classes and the fewer rows there are."""
    ari: float
    """Adjusted Rand index (Hubert and Arabie 1985), -0.5 to 1; 0 on average for chance."""


def clustering(
    features_ND: NDArray[np.floating], labels_N: NDArray[Any], *, seed: int = 0
) -> Clustering:
    """k-means on unit rows with as many clusters as classes, the best of ten seeded starts.

    Above 20,000 rows, on so many of them drawn by the seed. Unequal classes, and classes of
    several clumps, lower it without worse classification.

    Raises:
        InputError: fewer than two classes, not one label a row, a zero or non-finite row.
    """
    unit_ND = unit_rows(features_ND, min_rows=2)
    classes_C, class_N = checked_labels(labels_N, len(unit_ND))
    if len(classes_C) < 2:
        raise InputError("the labels name 1 class; at least 2 are needed.")
    rows_S = sampled_rows(len(unit_ND), CLUSTERED_ROWS, seed)
    distinct = len(np.unique(unit_ND[rows_S], axis=0))  # more clusters than points are a warning
    model = KMeans(min(len(classes_C), distinct), n_init=STARTS, random_state=seed)
    cluster_S = model.fit_predict(unit_ND[rows_S])
    return Clustering(
        nmi=float(normalized_mutual_info_score(class_N[rows_S], cluster_S)),
        ari=float(adjusted_rand_score(class_N[rows_S], cluster_S)),
    )
