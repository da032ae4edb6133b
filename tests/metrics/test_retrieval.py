import numpy as np
import pytest
from clouds import classes, simplex, unit

from lacvit.errors import InputError
from lacvit.metrics import retrieval as module
from lacvit.metrics.retrieval import retrieval


def definition(x, labels):
    """One query at a time: hit at 1, hit at 10, average precision at R."""
    figures = []
    cosines = unit(x) @ unit(x).T
    for query in range(len(x)):
        others = np.delete(np.arange(len(x)), query)
        ranked = others[np.argsort(-cosines[query, others])]
        relevant = labels[ranked] == labels[query]
        r = relevant.sum()
        if not r:
            continue
        precisions = [relevant[:i].mean() for i in range(1, r + 1) if relevant[i - 1]]
        figures.append((relevant[0], relevant[:10].any(), sum(precisions) / r))
    return np.mean(figures, axis=0)


def values(found):
    return found.recall_at_1.value, found.recall_at_10.value, found.map_at_r.value


@pytest.mark.parametrize("tile", [1, 500, 2**23])
@pytest.mark.parametrize("seed", range(3))
def test_figures_equal_their_definitions(seed, tile, monkeypatch):
    x, labels = classes(seed, noise=1.5)
    labels[0] = 99  # alone in its class: asks nothing
    monkeypatch.setattr(module, "TILE", tile)
    assert values(retrieval(x, labels)) == pytest.approx(tuple(definition(x, labels)))


@pytest.mark.parametrize("n_classes", [2, 6])
def test_pytorch_metric_learning_agrees(n_classes):
    torch = pytest.importorskip("torch")
    from lacvit.backbones.torchvision_shim import ensure_torchvision

    ensure_torchvision()  # it imports torchvision
    accuracy_calculator = pytest.importorskip("pytorch_metric_learning.utils.accuracy_calculator")

    def dense_search(query, k, reference, leave_out_itself):
        """In faiss's place, which need not be installed."""
        cosines = query.double() @ reference.double().T
        if leave_out_itself:
            cosines.fill_diagonal_(-np.inf)
        return cosines.topk(k, dim=1)

    calculator = accuracy_calculator.AccuracyCalculator(
        include=("precision_at_1", "mean_average_precision_at_r"),
        k="max_bin_count",
        device=torch.device("cpu"),
        knn_func=dense_search,
        kmeans_func=lambda *_: None,
    )
    x, labels = classes(5, n=200, n_classes=n_classes, noise=1.5)
    labels[3] = 99
    rounded = unit(x).astype(np.float32)  # what the calculator works on
    theirs = calculator.get_accuracy(rounded, labels)
    ours = retrieval(rounded.astype(np.float64), labels)
    assert ours.recall_at_1.value == pytest.approx(theirs["precision_at_1"])
    assert ours.map_at_r.value == pytest.approx(theirs["mean_average_precision_at_r"])


def test_collapse_and_chance():
    x, labels = simplex(4, per_class=12, d=6), np.repeat(np.arange(4), 12)
    assert values(retrieval(x, labels)) == (1, 1, 1)
    noise = np.random.default_rng(0).normal(size=(2000, 30))
    drawn = np.arange(2000) % 8
    share, r = 1 / 8, 249
    expected = share**2 + share * (1 - share) * (1 / np.arange(1, r + 1)).sum() / r
    assert retrieval(noise, drawn).map_at_r.value == pytest.approx(expected, rel=0.05)


def test_a_sample_asks_among_all():
    x, labels = classes(1, n=300, noise=2)
    whole = retrieval(x, labels)
    assert whole.map_at_r.error == whole.recall_at_1.error == 0
    found = [retrieval(x, labels, queries=60, seed=seed).map_at_r for seed in range(40)]
    misses = [(estimate.value - whole.map_at_r.value) / estimate.error for estimate in found]
    assert 0.5 < np.mean(np.square(misses)) < 1.8


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: retrieval(np.eye(3), np.arange(3)), "every image is alone in its class"),
        (lambda: retrieval(np.eye(3), np.zeros(3), queries=0), "queries is 0; expected at least 1"),
    ],
)
def test_faults_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
