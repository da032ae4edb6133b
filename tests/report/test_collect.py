import json

import numpy as np
import pytest
from run_folders import make_run_folder

from lacvit.errors import InputError
from lacvit.report import read_run


@pytest.fixture
def run(tmp_path):
    return make_run_folder(tmp_path)


def test_a_finished_run_is_read_whole(run):
    record = read_run(run)
    assert record.method == "lacvit"
    assert record.status.finished
    assert [stage.name for stage in record.stages] == ["contrastive", "head"]
    assert len(record.stages[0].rows) == 6
    assert record.data.class_names == ("class 0", "class 1", "class 2", "class 3")
    assert record.data.counts["test"]["class 3"] == 31
    evaluation = record.evaluation
    assert evaluation.scores["test"].images == 120
    assert len(evaluation.per_class) == 4
    assert list(evaluation.features) == ["untouched", "contrastive"]
    right = np.mean(evaluation.predictions.labels_N == evaluation.predictions.predictions_N)
    assert right == pytest.approx(evaluation.scores["test"].accuracy)
    assert list(evaluation.embeddings.figures) == ["untouched", "contrastive"]
    assert evaluation.embeddings.figures["contrastive"]["geometry"]["cka"] < 1
    assert evaluation.calibration.temperature == 1.8
    assert evaluation.calibration.scores["nll"] == (1.24, 1.02)
    assert evaluation.calibration.after.counts.sum() == 120
    confidences = [mistake.confidence for mistake in evaluation.mistakes]
    assert confidences == sorted(confidences, reverse=True)


def test_only_two_files_must_be_there(tmp_path):
    run = make_run_folder(tmp_path, finished=False)
    for name in ("environment.json", "data.json", "figures/views.png"):
        (run / name).unlink()
    record = read_run(run)
    assert record.data is None
    assert record.views is None
    assert record.evaluation is None
    assert len(record.stages) == 1


@pytest.mark.parametrize("name", ["settings.toml", "status.json"])
def test_a_folder_that_is_no_run_is_refused(run, name):
    (run / name).unlink()
    with pytest.raises(InputError) as fault:
        read_run(run)
    assert str(fault.value) == (
        f"{run} is no run folder: it has no {name}. Give a folder that `lacvit train` has written."
    )


def test_a_run_without_an_epoch_has_nothing_to_report(tmp_path):
    run = make_run_folder(tmp_path, finished=False)
    (run / "contrastive" / "metrics.jsonl").unlink()
    with pytest.raises(InputError) as fault:
        read_run(run)
    assert str(fault.value) == (
        f"{run} has nothing to report yet: no stage has finished an epoch "
        "(status.json: stage contrastive). Let `lacvit train` go on for an epoch, then ask again."
    )


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("settings.toml", "method = ", "Invalid value"),
        ("status.json", "{", "Expecting property name"),
        ("status.json", "[1]", "it holds a JSON list, not an object"),
        ("data.json", '{"counts": {}}', "class_names or counts are not as lacvit writes them"),
        ("contrastive/metrics.jsonl", '{"loss"\n{"loss": 1}\n', "line 1: Expecting"),
        ("contrastive/metrics.jsonl", "3\n", "line 1 holds no JSON object"),
        ("evaluation/metrics.json", '{"test": {"accuracy": "x"}}', "test is not as lacvit"),
        ("evaluation/per_class.csv", "class,recall\na,1\n", "it has no column precision, f1, supp"),
        ("evaluation/mistakes.csv", "path,label,prediction,confidence\na,b,c,?\n", "'?' is no num"),
        ("evaluation/geometry.json", '{"images": 3}', "not as lacvit writes it (KeyError('of'))"),
        ("evaluation/calibration.json", '{"temperature": 1}', "not as lacvit writes it"),
        ("evaluation/predictions.parquet", "x", "Parquet"),
        ("evaluation/features/test.safetensors", "x", "header"),
    ],
)
def test_a_broken_file_is_named_with_what_to_do(run, name, content, reason):
    (run / name).write_text(content)
    with pytest.raises(InputError) as fault:
        read_run(run)
    message = str(fault.value)
    assert message.startswith(f"{run / name} cannot be read: ")
    assert reason in message
    assert message.endswith(
        "Restore the file, or delete the folder of its run and give the same command, which runs "
        "it anew."
    )


def test_features_of_other_images_are_refused(tmp_path):
    run = make_run_folder(tmp_path / "one", images=40)
    other = make_run_folder(tmp_path / "two", images=44)
    (other / "evaluation/predictions.parquet").replace(run / "evaluation/predictions.parquet")
    with pytest.raises(InputError, match=r"untouched has 40 rows and predictions\.parquet 44"):
        read_run(run)


def test_a_line_torn_by_a_kill_is_left_out(run):
    metrics = run / "contrastive" / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + '{"epoch": 6, "los')
    assert len(read_run(run).stages[0].rows) == 6


def test_a_diverged_loss_is_no_fault(run):
    metrics = run / "contrastive" / "metrics.jsonl"
    row = json.dumps({"epoch": 6, "loss": float("nan"), "knn_accuracy": None})
    metrics.write_text(metrics.read_text() + row + "\n")
    losses = read_run(run).stages[0].column("loss")
    assert np.isnan(losses[-1])
    assert np.isfinite(losses[:-1]).all()


def test_classes_that_data_json_lacks_come_last(run):
    fields = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps(fields | {"class_names": ["class 2"], "counts": {}}))
    predictions = read_run(run).evaluation.predictions
    assert predictions.class_names == ("class 2", "class 0", "class 1", "class 3")
