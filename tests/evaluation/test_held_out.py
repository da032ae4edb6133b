"""Measures of classes that were never trained on, on features with a known answer."""

import numpy as np
import pytest

from lacvit.evaluation.held_out import ONE_CLASS, SeenAndUnseen, in_words, measure_held_out

CLASSES = 5


def clusters(labels: np.ndarray, spread: float, seed: int) -> np.ndarray:
    """One direction a class, with noise around it."""
    rng = np.random.default_rng(seed)
    return (np.eye(16)[labels] + spread * rng.normal(size=(len(labels), 16))).astype(np.float32)


def measured(held: tuple[int, ...], spread: float, *, sure_of: float = 0.99) -> dict:
    """Three known classes, and held-out ones; untouched features are noise."""
    train, known = np.repeat([0, 1, 2], 10), np.repeat([0, 1, 2], 6)
    held_labels = np.repeat(held, 8)
    parts = (train, known, held_labels)
    trained = SeenAndUnseen(*(clusters(x, spread, i) for i, x in enumerate(parts)))
    noise = SeenAndUnseen(*(clusters(x, 30.0, 9 + i) for i, x in enumerate(parts)))
    sure = np.tile([sure_of, (1 - sure_of) / 2, (1 - sure_of) / 2], (len(known), 1))
    unsure = np.tile([0.4, 0.3, 0.3], (len(held_labels), 1))
    names = [f"class {label}" for label in sorted(set(held))]
    positions = np.searchsorted(sorted(set(held)), held_labels)
    return measure_held_out(
        {"untouched": noise, "contrastive": trained}, positions, names, train, (sure, unsure)
    )


def test_separate_clusters_are_perfect_and_noise_is_chance() -> None:
    figures = measured((3, 4), 0.05)
    after, before = figures["embeddings"]["contrastive"], figures["embeddings"]["untouched"]
    for name in ("knn_1", "knn_5", "recall_at_1", "map_at_r", "nmi", "novelty_auroc"):
        assert after[name] == pytest.approx(1.0), name
        assert before[name] < 0.8, name
    assert figures["head_novelty_auroc"] == 1.0
    assert figures["neighbour"] == 5, "half of the smallest class of train"
    assert (figures["images"], figures["known_images"]) == (16, 18)
    assert "left_out" not in figures


def test_a_head_that_is_as_sure_of_anything_tells_nothing() -> None:
    figures = measured((3, 4), 0.05, sure_of=0.4)
    assert figures["head_novelty_auroc"] == 0.5
    assert figures["embeddings"]["contrastive"]["novelty_auroc"] == 1.0


def test_held_out_images_on_top_of_a_known_class_are_not_told_apart() -> None:
    figures = measured((0, 1), 0.3)
    assert 0.2 < figures["embeddings"]["contrastive"]["novelty_auroc"] < 0.8


def test_one_class_is_measured_where_that_means_something() -> None:
    figures = measured((3,), 0.05)
    assert figures["left_out"] == ONE_CLASS
    assert set(figures["embeddings"]["contrastive"]) == {"novelty_auroc"}
    first, second = in_words(figures)
    assert f"not measured among themselves ({ONE_CLASS})" in first
    assert "AUROC by neighbours 1.000 (untouched" in second


def test_unequal_halves_weigh_by_their_images() -> None:
    """Classes of three images: halves of one and two; each image counts once."""
    labels = np.repeat([0, 1], 3)
    features = clusters(labels, 0.01, 0)
    features[0], features[3] = (
        features[3].copy(),
        features[0].copy(),
    )  # one of each among the others
    all_of_it = SeenAndUnseen(features, features, features)
    sure = np.tile([0.5, 0.5], (6, 1))
    figures = measure_held_out({"untouched": all_of_it}, labels, ["a", "b"], labels, (sure, sure))
    assert (6 * figures["embeddings"]["untouched"]["knn_1"]) % 1 == pytest.approx(0, abs=1e-9)


def test_the_words_give_both_encoders() -> None:
    first, second = in_words(measured((3, 4), 0.05))
    assert first.startswith("Never trained on: class 3, class 4, 16 images: k-NN, k = 1 1.000 (unt")
    assert second.startswith("Told from 18 test images of known classes: AUROC by neighbours 1.000")
    assert second.endswith("by the head's probability 1.000; 0.5 tells nothing.")
