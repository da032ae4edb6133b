import numpy as np
import pytest
from clouds import classes

from lacvit.errors import InputError
from lacvit.metrics.clustering import clustering
from lacvit.metrics.neighbours import knn_accuracy
from lacvit.metrics.probes import few_shot_accuracy, nearest_class_mean_accuracy
from lacvit.metrics.quality import quality
from lacvit.metrics.retrieval import retrieval

DEFAULT = {
    "knn_1", "knn_5", "knn_20", "nearest_class_mean", "recall_at_1", "recall_at_10", "map_at_r",
}  # fmt: skip


def split(seed=0):
    x, labels = classes(seed, n=160, noise=2)
    return x[:80], labels[:80], x[80:], labels[80:]


def test_every_figure_is_that_of_its_function():
    given = split()
    x, labels = given[2:]
    among, clusters = retrieval(x, labels), clustering(x, labels)
    found = quality(*given, extended=True)
    expected = {f"knn_{k}": knn_accuracy(*given, k=k) for k in (1, 5, 20)} | {
        "nearest_class_mean": nearest_class_mean_accuracy(*given),
        "recall_at_1": among.recall_at_1.value,
        "recall_at_10": among.recall_at_10.value,
        "map_at_r": among.map_at_r.value,
        "nmi": clusters.nmi,
        "ari": clusters.ari,
    }
    for shots in (1, 5):
        probe = few_shot_accuracy(*given, shots=shots)
        expected[f"few_shot_{shots}"] = probe.value
        expected[f"few_shot_{shots}_error"] = probe.error
    assert found == pytest.approx(expected)
    assert quality(*given).keys() == DEFAULT


def test_what_is_not_defined_is_left_out():
    train, train_labels, x, _ = split()
    alone = quality(train[:3], np.arange(3), x, np.arange(80), extended=True)
    assert not {"recall_at_1", "few_shot_5"} & alone.keys()
    assert "few_shot_1" in alone
    one_class = quality(train, train_labels * 0, x, np.zeros(80, int), extended=True)
    assert not {"few_shot_1", "nmi", "ari"} & one_class.keys()
    assert one_class["knn_1"] == one_class["map_at_r"] == 1


def test_faults_are_named():
    train, train_labels, x, labels = split()
    with pytest.raises(InputError, match="training features have 12 dimensions and features 5"):
        quality(train, train_labels, x[:, :5], labels)
    with pytest.raises(InputError, match=r"80 rows but labels of shape \(79,\)"):
        quality(train, train_labels, x, labels[1:])
