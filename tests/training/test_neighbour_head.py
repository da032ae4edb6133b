"""The head of nearest neighbours against scikit-learn, and how many of them vote."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from lacvit import neighbour_head as module
from lacvit.backbones import load_backbone
from lacvit.metrics.neighbours import SHARP, knn_predict
from lacvit.model import Classifier
from lacvit.neighbour_head import NeighbourHead
from lacvit.training.head import LabelledFeatures
from lacvit.training.neighbours import (
    NEIGHBOURS,
    choose_neighbours,
    neighbour_head,
    neighbour_heads,
)

CLASSES = 4


def problem(n: int, seed: int, *, spread: float = 1.5, dim: int = 6) -> LabelledFeatures:
    labels = np.arange(n) % CLASSES
    centres = np.random.default_rng(9).normal(size=(CLASSES, dim))
    x = centres[labels] + spread * np.random.default_rng(seed).normal(size=(n, dim))
    return LabelledFeatures(x.astype(np.float32), labels)


@pytest.mark.parametrize("k", [1, 5, 20, 500])
def test_it_gives_the_shares_of_scikit_learns_votes(
    k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, asked = problem(80, 0), problem(100, 1)
    monkeypatch.setattr(module, "TILE", 80 * 30)  # 30 rows at a time, then 10
    head = neighbour_head(train, classes=CLASSES, k=k)
    shares = head(torch.from_numpy(asked.features_ND)).softmax(1).numpy()
    votes = KNeighborsClassifier(
        min(k, 80), metric="cosine", weights=lambda distance: np.exp(-distance / SHARP)
    )
    votes.fit(train.features_ND.astype(np.float64), train.labels_N)
    expected = votes.predict_proba(asked.features_ND.astype(np.float64))
    np.testing.assert_allclose(shares, expected, rtol=0, atol=1e-5)
    predicted = knn_predict(train.features_ND, train.labels_N, asked.features_ND, k=k)
    np.testing.assert_array_equal(shares.argmax(1), predicted)


def test_validation_alone_chooses_k_and_the_smallest_of_equals() -> None:
    train, validation = problem(80, 0), problem(120, 1)
    found = choose_neighbours(train, validation, classes=CLASSES)
    accuracies = [
        np.mean(
            knn_predict(train.features_ND, train.labels_N, validation.features_ND, k=k)
            == validation.labels_N
        )
        for k in NEIGHBOURS
    ]
    assert [row["validation_accuracy"] for row in found.tried] == pytest.approx(accuracies)
    assert found.k == NEIGHBOURS[int(np.argmax(accuracies))] != 1
    easy = problem(80, 2, spread=0.01), problem(40, 3, spread=0.01)
    assert choose_neighbours(*easy, classes=CLASSES).k == 1
    few = choose_neighbours(problem(8, 0), validation, classes=CLASSES)
    assert [row["k"] for row in few.tried] == [1, 3, 5]  # no more than there are images


def test_the_last_gallery_takes_validation_images_too() -> None:
    train, validation = problem(20, 0), problem(12, 1)
    found = choose_neighbours(train, validation, classes=CLASSES)
    heads = neighbour_heads(train, validation, found, both=True, device=torch.device("cpu"))
    assert len(heads.judged.gallery_TD) == 20
    assert heads.final.labels_T.tolist() == [*train.labels_N, *validation.labels_N]


def test_a_saved_model_votes_alike(tmp_path: Path) -> None:
    backbone = load_backbone("pico")
    draw = np.random.default_rng(0)
    gallery, asked = (draw.normal(size=(n, backbone.dim)).astype(np.float32) for n in (9, 5))
    head = NeighbourHead(torch.from_numpy(gallery), torch.arange(9) % 3, classes=3, k=4)
    model = Classifier(backbone, head, ("a", "b", "c"), 2.0)
    model.save(tmp_path / "model", card="# A card\n")
    (tmp_path / "model").rename(tmp_path / "moved")
    loaded = Classifier.load(tmp_path / "moved")
    assert isinstance(loaded.head, NeighbourHead)
    np.testing.assert_allclose(
        loaded.probabilities(asked), model.probabilities(asked), rtol=0, atol=1e-6
    )
    votes = np.exp(model.logits(asked)).sum(1)
    np.testing.assert_allclose(votes, 1, atol=1e-5)
