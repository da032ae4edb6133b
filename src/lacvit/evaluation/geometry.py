"""What an encoder makes of the test images, before and after training: ``geometry.json``.

Shape letters: N test images, T training images, D feature dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lacvit.devices import threads_for
from lacvit.errors import InputError
from lacvit.metrics.collapse import LinearHead
from lacvit.metrics.estimate import sampled_rows
from lacvit.metrics.geometry import geometry
from lacvit.metrics.quality import quality
from lacvit.metrics.verdict import TRAINED_BY, isotropy_verdict

Array = npt.NDArray[Any]

# Neighbours cost the product of both: 2 s an encoder for 5,000 x 128 on one core, four times that
# for 10,000.
MOST_TEST, MOST_TRAIN = 5_000, 20_000


@dataclass(frozen=True)
class Embedding:
    """One encoder's features, float32, of the test images (N, D) and training images (T, D)."""

    test_ND: Array
    train_TD: Array


def measure_embeddings(
    embeddings: Mapping[str, Embedding],
    labels_N: Array,
    train_labels_T: Array,
    *,
    head: LinearHead | None = None,
    extended: bool = False,
) -> dict[str, object]:
    """What ``geometry.json`` says: figures of each encoder by name, and the verdict in words.

    The first encoder is the pretrained one: the reference of ``cka``, and the verdict's "before";
    the last is the trained one. All are measured on the same test images, at most 5,000, and by
    the same training images, at most 20,000, drawn by a fixed seed. What is not defined for these
    images is left out; where a whole group is, the reason stands under ``left_out``.

    Args:
        embeddings: by the stage that they come after, ``untouched`` first.
        labels_N: class numbers of the test images.
        train_labels_T: class numbers of the training images.
        head: the classifier on the last encoder's features, for two measures of the extended set.
        extended: the extended sets of :func:`lacvit.metrics.geometry.geometry` and
            :func:`lacvit.metrics.quality.quality`.
    """
    test, train = chosen_rows(len(labels_N), MOST_TEST), chosen_rows(len(train_labels_T))
    names = list(embeddings)
    before_ND = embeddings[names[0]].test_ND[test]
    found: dict[str, dict[str, Any]] = {}
    with threads_for(before_ND.size):
        for name, embedding in embeddings.items():
            last = name == names[-1]
            found[name] = _measured(
                Embedding(embedding.test_ND[test], embedding.train_TD[train]),
                (labels_N[test], train_labels_T[train]),
                reference_ND=None if name == names[0] else before_ND,
                head=head if last else None,
                extended=extended,
            )
    classes = len(np.unique(labels_N[test]))
    verdict = isotropy_verdict(
        found[names[0]]["geometry"],
        found[names[-1]]["geometry"] if len(names) > 1 else None,
        classes=classes,
        dimensions=before_ND.shape[1],
        trained_by=TRAINED_BY.get(names[-1], "training"),
    )
    return {
        "images": len(test),
        "of": len(labels_N),
        "classes": classes,
        "embeddings": found,
        "verdict": list(verdict),
    }


def chosen_rows(images: int, most: int = MOST_TRAIN) -> Array:
    """Which images are measured: all, or so many of them, the same ones for every encoder."""
    return sampled_rows(images, most, seed=0)


def _measured(
    embedding: Embedding,
    labels: tuple[Array, Array],
    *,
    reference_ND: Array | None,
    head: LinearHead | None,
    extended: bool,
) -> dict[str, Any]:
    labels_N, train_labels_T = labels
    found: dict[str, Any] = {"geometry": {}, "quality": {}}
    reasons: dict[str, str] = {}
    try:
        found["geometry"] = geometry(
            embedding.test_ND, labels_N, reference_ND=reference_ND, head=head, extended=extended
        )
    except InputError as error:  # one image, or a feature of zeros: no direction to measure
        reasons["geometry"] = str(error)
    try:
        found["quality"] = quality(
            embedding.train_TD, train_labels_T, embedding.test_ND, labels_N, extended=extended
        )
    except InputError as error:
        reasons["quality"] = str(error)
    return found | ({"left_out": reasons} if reasons else {})
