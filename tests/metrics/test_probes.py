import numpy as np
import pytest
from clouds import classes, unit
from sklearn.linear_model import LogisticRegression

from lacvit.errors import InputError
from lacvit.metrics.probes import few_shot_accuracy, nearest_class_mean_accuracy


def halves(seed, n_classes=4, noise=1.0):
    x, labels = classes(seed, n=160, n_classes=n_classes, noise=noise)
    return x[:80], labels[:80], x[80:], labels[80:]


@pytest.mark.parametrize("seed", range(3))
def test_nearest_class_mean_equals_its_definition(seed):
    train, train_labels, x, labels = halves(seed, noise=2)
    names = np.unique(train_labels)
    means = unit(np.array([unit(train[train_labels == name]).mean(axis=0) for name in names]))
    expected = np.mean(names[(unit(x) @ means.T).argmax(axis=1)] == labels)
    assert nearest_class_mean_accuracy(train, train_labels, x, labels) == expected


def test_a_class_without_direction_is_never_nearest():
    train = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    names = np.array(["torn", "torn", "up"])
    assert nearest_class_mean_accuracy(train, names, np.array([[0.1, 1.0]]), np.array(["up"])) == 1


@pytest.mark.parametrize("n_classes", [2, 4])
def test_one_draw_equals_scikit_learn(n_classes):
    train, train_labels, x, labels = halves(0, n_classes, noise=2)
    rng = np.random.default_rng((3, 0))
    rows = [rng.choice(np.flatnonzero(train_labels == c), 2, replace=False)
            for c in range(n_classes)]  # fmt: skip
    rows = np.concatenate(rows)
    model = LogisticRegression(max_iter=1000).fit(unit(train[rows]), train_labels[rows])
    found = few_shot_accuracy(train, train_labels, x, labels, shots=2, draws=1, seed=3)
    assert found.value == np.mean(model.predict(unit(x)) == labels)
    assert found.error == 0


def test_draws_are_averaged_and_depend_on_the_labels_alone():
    train, train_labels, x, labels = halves(1, noise=2)
    many = few_shot_accuracy(train, train_labels, x, labels, shots=2, draws=4, seed=7)
    assert 0 < many.error < 0.2
    mirrored = few_shot_accuracy(-train, train_labels, -x, labels, shots=2, draws=4, seed=7)
    assert mirrored.value == pytest.approx(many.value)
    other = few_shot_accuracy(train, train_labels, x, labels, shots=2, draws=4, seed=8)
    assert other.value != many.value


def test_classes_well_apart_take_one_shot():
    train, train_labels, x, labels = halves(2, noise=1e-3)
    names = np.array(["d", "a", "c", "b"])
    found = few_shot_accuracy(train, names[train_labels], x, names[labels], shots=1, draws=2)
    assert found.value == 1


TRAIN, LABELS = np.eye(4), np.array([0, 0, 1, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: few_shot_accuracy(TRAIN, LABELS, TRAIN, LABELS, shots=3),
            "3 shots and 10 draws from 2 classes, the smallest of 2 rows",
        ),
        (lambda: few_shot_accuracy(TRAIN, LABELS, TRAIN, LABELS, shots=0), "0 shots"),
        (lambda: few_shot_accuracy(TRAIN, LABELS, TRAIN, LABELS, shots=1, draws=0), "0 draws"),
        (lambda: few_shot_accuracy(TRAIN, LABELS * 0, TRAIN, LABELS, shots=1), "from 1 classes"),
        (
            lambda: nearest_class_mean_accuracy(TRAIN, LABELS, TRAIN[:, :3] + 1, LABELS),
            "training features have 4 dimensions and features 3",
        ),
        (
            lambda: nearest_class_mean_accuracy(TRAIN, LABELS, TRAIN, LABELS[:2]),
            r"4 rows but labels of shape \(2,\)",
        ),
    ],
)
def test_faults_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
