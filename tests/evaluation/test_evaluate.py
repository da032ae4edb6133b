"""Figures of a classifier on a split, and the files that keep them."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file
from scipy.special import softmax
from sklearn.metrics import f1_score, precision_recall_fscore_support
from sklearn.metrics import log_loss as sklearn_log_loss

from lacvit.evaluation.evaluate import Evaluation
from lacvit.evaluation.files import write_csv, write_evaluation, write_features
from lacvit.metrics.calibration import brier_score, expected_calibration_error

LABELS = np.array([0, 0, 0, 1, 1, 1, 2, 2])
NAMES = ("cat", "dog, small", "eule")


def made() -> Evaluation:
    """Eight answers; three are wrong: images 2, 5 and 6, with confidence 0.9, 0.5 and 0.9."""
    probabilities = np.full((8, 3), 0.05, np.float32)
    for i, (c, p) in enumerate(
        [(0, 0.9), (0, 0.6), (1, 0.9), (1, 0.7), (1, 0.9), (2, 0.5), (0, 0.9), (2, 0.8)]
    ):
        probabilities[i] = (1 - p) / 2
        probabilities[i, c] = p
    return Evaluation(NAMES, tuple(f"t/{i}.png" for i in range(8)), LABELS, np.log(probabilities))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_figures_are_those_of_the_answers() -> None:
    evaluation = made()
    np.testing.assert_array_equal(evaluation.predictions_N, [0, 0, 1, 1, 1, 2, 0, 2])
    assert evaluation.accuracy == 5 / 8
    low, high = evaluation.interval
    # Wilson 1927 for 5 of 8, z = 1.959964.
    assert (low, high) == pytest.approx((0.305742, 0.863160), abs=1e-5)
    summary = evaluation.summary()
    assert summary == {
        "accuracy": 5 / 8,
        "interval": [low, high],
        "macro_f1": pytest.approx(
            f1_score(evaluation.labels_N, evaluation.predictions_N, average="macro")
        ),
        "images": 8,
        "ece": pytest.approx(expected_calibration_error(evaluation.probabilities_NC, LABELS)),
        "brier": pytest.approx(brier_score(evaluation.probabilities_NC, LABELS)),
        "nll": pytest.approx(sklearn_log_loss(LABELS, evaluation.probabilities_NC)),
        "temperature": 1.0,
        "before_temperature": {name: summary[name] for name in ("ece", "brier", "nll")},
    }


@pytest.mark.parametrize("temperature", [0.06, 0.5, 1.0, 3.0, 19.0])
def test_a_temperature_moves_probabilities_and_no_answer(temperature: float) -> None:
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(300, 6)).astype(np.float32), random.integers(6, size=300)
    paths = tuple(map(str, range(300)))
    before = Evaluation(tuple("abcdef"), paths, labels, logits)
    after = Evaluation(tuple("abcdef"), paths, labels, logits, temperature)
    np.testing.assert_array_equal(after.predictions_N, before.predictions_N)
    np.testing.assert_array_equal(after.probabilities_NC.argmax(1), after.predictions_N)
    np.testing.assert_allclose(after.probabilities_NC, softmax(logits / temperature, 1), rtol=1e-4)
    one, other = before.summary(), after.summary()
    assert [one[name] for name in ("accuracy", "macro_f1")] == [
        other["accuracy"],
        other["macro_f1"],
    ]
    assert other["before_temperature"] == {name: one[name] for name in ("ece", "brier", "nll")}
    assert (other["nll"] == pytest.approx(one["nll"])) == (temperature == 1)


def test_the_bins_of_both_diagrams_are_kept() -> None:
    evaluation = replace(made(), temperature=2.0)
    kept = evaluation.reliability()
    assert kept["temperature"] == 2.0
    for name, probabilities in (
        ("before", replace(evaluation, temperature=1.0).probabilities_NC),
        ("after", evaluation.probabilities_NC),
    ):
        bins = kept[name]
        counts, right = np.array(bins["counts"]), np.array(bins["accuracy"])
        assert counts.sum() == 8
        assert counts @ right == 5
        assert counts @ np.array(bins["confidence"]) == pytest.approx(probabilities.max(1).sum())
        assert len(bins["edges"]) == len(counts) + 1
    json.dumps(kept)


def test_per_class_figures_equal_scikit_learns(tmp_path: Path) -> None:
    evaluation = made()
    write_evaluation(tmp_path, evaluation)
    expected = precision_recall_fscore_support(evaluation.labels_N, evaluation.predictions_N)
    found = rows(tmp_path / "per_class.csv")
    assert [row["class"] for row in found] == list(NAMES)
    for name, column in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert [float(row[name]) for row in found] == pytest.approx(column.tolist(), rel=1e-5)


def test_predictions_hold_every_answer_by_name(tmp_path: Path) -> None:
    evaluation = made()
    write_evaluation(tmp_path, evaluation)
    table = pq.read_table(tmp_path / "predictions.parquet").to_pydict()
    assert list(table) == ["path", "label", "prediction", "probabilities"]
    assert table["path"] == list(evaluation.paths)
    assert table["label"] == [NAMES[c] for c in evaluation.labels_N]
    assert table["prediction"] == [NAMES[c] for c in evaluation.predictions_N]
    np.testing.assert_array_equal(
        np.array(table["probabilities"], np.float32), evaluation.probabilities_NC
    )


def test_mistakes_come_most_confident_first_and_ties_in_order(tmp_path: Path) -> None:
    write_evaluation(tmp_path, made())
    assert rows(tmp_path / "mistakes.csv") == [
        {"path": f"t/{i}.png", "label": label, "prediction": prediction, "confidence": confidence}
        for i, label, prediction, confidence in (
            (2, "cat", "dog, small", "0.9000"),
            (6, "eule", "cat", "0.9000"),
            (5, "dog, small", "eule", "0.5000"),
        )
    ]


def test_a_perfect_classifier_has_no_mistakes(tmp_path: Path) -> None:
    perfect = Evaluation(NAMES, ("a", "b", "c"), np.arange(3), 9 * np.eye(3))
    write_evaluation(tmp_path, perfect)
    assert perfect.accuracy == 1.0
    assert (tmp_path / "mistakes.csv").read_text() == "path,label,prediction,confidence\n"


def test_features_are_kept_by_stage(tmp_path: Path) -> None:
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    write_features(tmp_path / "features" / "test.safetensors", {"untouched": x.T, "contrastive": x})
    found = load_file(tmp_path / "features" / "test.safetensors")
    assert found.keys() == {"untouched", "contrastive"}
    np.testing.assert_array_equal(found["untouched"], x.T)  # not contiguous, and yet not scrambled
    np.testing.assert_array_equal(found["contrastive"], x)


def test_a_table_quotes_what_it_must(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ("a", "b"), [("x, y", 'say "hi"'), ("line\nbreak", 1)])
    assert rows(tmp_path / "a.csv") == [
        {"a": "x, y", "b": 'say "hi"'},
        {"a": "line\nbreak", "b": "1"},
    ]
