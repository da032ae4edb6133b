import numpy as np
import pytest
from clouds import classes, simplex, unit
from sklearn.metrics import silhouette_samples, silhouette_score

from lacvit.metrics import separation
from lacvit.metrics.separation import class_separation, silhouette


@pytest.mark.parametrize("seed", range(4))
def test_silhouette_equals_scikit_learn(seed):
    x, labels = classes(seed)
    labels[0] = 99  # alone in its class
    assert silhouette(x, labels).value == pytest.approx(
        silhouette_score(x, labels, metric="cosine"), abs=1e-12
    )


def test_silhouette_of_a_sample(monkeypatch):
    x, labels = classes(1, n=600)
    monkeypatch.setattr(separation, "SILHOUETTE_ROWS", 150)
    found = [silhouette(x, labels, seed=seed) for seed in range(40)]
    whole = silhouette_samples(x, labels, metric="cosine")
    error = whole.std(ddof=1) * np.sqrt((1 / 150) * (1 - 150 / 600))
    assert found[0].error == pytest.approx(error, rel=0.2)
    misses = [(estimate.value - whole.mean()) / estimate.error for estimate in found]
    assert 0.5 < np.mean(np.square(misses)) < 1.8


@pytest.mark.parametrize("seed", range(3))
def test_class_separation_equals_the_full_matrix(seed):
    x, labels = classes(seed)
    distance = 1 - unit(x) @ unit(x).T
    names = np.unique(labels)
    blocks = np.array([[distance[np.ix_(labels == a, labels == b)].mean() for b in names]
                       for a in names])  # fmt: skip
    expected = 1 - np.diag(blocks).mean() / blocks.mean()
    assert class_separation(x, labels) == pytest.approx(expected)


def test_collapsed_classes_and_random_labels():
    x, labels = simplex(5, per_class=6, d=8), np.repeat(np.arange(5), 6)
    assert class_separation(x, labels) == pytest.approx(1)
    assert silhouette(x, labels).value == pytest.approx(1)
    random = np.random.default_rng(0)
    noise, drawn = random.normal(size=(5000, 20)), np.arange(5000) % 5
    assert class_separation(noise, drawn) == pytest.approx(5 / 5000, rel=0.5)
    assert abs(silhouette(noise, drawn).value) < 0.02


def test_one_direction_has_no_separation():
    assert np.isnan(class_separation(np.ones((4, 3)), np.array([0, 0, 1, 1])))
    assert silhouette(np.ones((4, 3)), np.array([0, 0, 1, 1])).value == 0
