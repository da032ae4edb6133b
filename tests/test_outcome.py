"""What a run ends with: the last fit of its head, and what the head reads of an image."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.special import softmax

from digit_folders import write_digit_folder, write_split_folder
from lacvit import pipeline
from lacvit.arms import find_arm
from lacvit.config import make_settings
from lacvit.data.readers import read_data
from lacvit.errors import InputError
from lacvit.evaluated import FEATURES
from lacvit.evaluation.evaluate import evaluate_records
from lacvit.metrics.calibration import chosen_temperature
from lacvit.model import load
from lacvit.run_folder import RunFolder, read_json
from lacvit.training.logs import Silence


def run(data: Path, output: Path, fit_on: str) -> RunFolder:
    settings = {
        "data.path": str(data),
        "backbone.spec": "pico",
        "method": "linear-probe",
        "head.fit_on": fit_on,
        "precision": "fp32",
    }
    pipeline.train(make_settings(recipe=settings), pipeline.Request(output=output, report=False))
    return RunFolder(output)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    folder = tmp_path_factory.mktemp("fits")
    data = write_split_folder(folder / "data", {"train": 4, "val": 6, "test": 8}, classes=4)
    return {fit_on: run(data, folder / fit_on, fit_on) for fit_on in ("train", "all")}


BY_SGD = {"head.solver": "sgd", "head.epochs": 2}


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("linear-probe", {}),
        ("knn", {}),
        ("cross-entropy", {}),
        ("joint-refit", {}),
        ("lacvit", BY_SGD),
    ],
)
def test_a_model_reads_the_crops_that_its_run_read(
    method: str, more: dict[str, object], tmp_path: Path
) -> None:
    data = write_split_folder(tmp_path / "data", {"train": 4, "val": 3, "test": 8}, classes=4)
    settings = {
        "data.path": str(data), "backbone.spec": "pico", "method": method, "precision": "fp32",
        "features.crops": "corners", "views.flip": 0.0, "contrastive.epochs": 1, **more,
    }  # fmt: skip
    asked = pipeline.Request(output=tmp_path / "run", report=False)
    result = pipeline.train(make_settings(recipe=settings), asked)
    folder = RunFolder(tmp_path / "run")
    assert read_json(folder.model / "config.json")["crops"] == {"side": 0.8, "mirror": False}
    assert "the mean over 5 parts of an image" in (folder.model / "README.md").read_text()

    model = load(folder.path, device="cpu")
    found = evaluate_records(model, read_data(data, None)["test"])
    assert found.accuracy == result.accuracy
    kept = load_file(folder.evaluation / FEATURES)
    averaged_ND = kept[find_arm(method).encoder]
    paths = [data / name for name in found.paths]
    np.testing.assert_allclose(model.embed(paths), averaged_ND, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.logits(averaged_ND), found.logits_NC, rtol=1e-4, atol=1e-4)
    model.crops = None
    assert not np.allclose(model.embed(paths), averaged_ND, rtol=0.01)


def test_the_model_has_the_head_of_all_images(runs: dict[str, RunFolder]) -> None:
    heads = [load_file(runs[on].model / "model.safetensors") for on in ("train", "all")]
    encoder = [key for key in heads[0] if not key.startswith("head.")]
    assert all(np.array_equal(heads[0][key], heads[1][key]) for key in encoder)
    assert not np.allclose(heads[0]["head.weight"], heads[1]["head.weight"], rtol=0.01)


def test_validation_images_judge_a_head_that_has_not_seen_them(runs: dict[str, RunFolder]) -> None:
    """Otherwise trials, picks and the temperature would go by what a head has learned by heart."""
    by_train, by_all = (read_json(runs[on].evaluation / "metrics.json") for on in ("train", "all"))
    assert by_all["validation"] == by_train["validation"]
    assert by_all["validation"]["accuracy"] < 1
    assert by_all["test"]["temperature"] == by_train["test"]["temperature"]
    assert by_all["test"]["nll"] != by_train["test"]["nll"]


def test_the_models_temperature_is_the_one_that_validation_asks_for(
    runs: dict[str, RunFolder],
) -> None:
    folder = runs["train"]
    manifest = read_json(folder.data)
    paths = [Path(manifest["root"]) / name for name in manifest["paths"]["validation"]]
    model = load(folder.path, device="cpu")
    labels_N = np.array([model.class_names.index(path.parent.name) for path in paths])
    logits_NC = model.logits(model.embed(paths))
    assert model.temperature == pytest.approx(chosen_temperature(logits_NC, labels_N), rel=1e-3)
    assert model.temperature != 1
    (answer,) = model.predict(paths[:1])
    expected = softmax(logits_NC[0] / model.temperature).max()
    assert answer.probability == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("tested", [0.0, 0.2])
def test_a_run_that_trains_on_every_image_says_so(tmp_path: Path, tested: float) -> None:
    data = write_digit_folder(tmp_path / "digits", classes=2, per_class=10)
    settings = {
        "data.path": str(data), "data.test_fraction": tested, "data.validation_fraction": 0.0,
        "head.strengths": [0.1], "backbone.spec": "pico", "precision": "fp32",
        "contrastive.epochs": 1,
    }  # fmt: skip
    result = pipeline.train(make_settings(recipe=settings), pipeline.Request(tmp_path / "run"))
    folder = RunFolder(result.run_folder)
    paths = read_json(folder.data)["paths"]
    assert len(paths["train"]) == (20 if tested == 0 else 16)
    assert set(paths["validation"]) < set(paths["train"])
    assert any("Validation images train too" in notice for notice in result.notices)
    assert result.measured_on == ("training" if tested == 0 else "test")
    assert load(folder.path).temperature == 1, "none is left to fit it on"
    assert folder.resolved_settings()["head"]["fit_on"] == "train", "there is nothing to add"
    metrics = read_json(folder.evaluation / "metrics.json")
    assert set(metrics) == ({"training"} if tested == 0 else {"test", "training"})
    card = (folder.model / "README.md").read_text(encoding="utf-8")
    assert ("none was left to measure it on" in card) == (tested == 0)
    page = folder.report.read_text(encoding="utf-8")
    assert "Validation images train too" in page
    assert ("training images named rightly" in page) == (tested == 0)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "the head's strength. Set it, such as"),
        ({"method": "cross-entropy"}, "the head's strength. Set it, such as"),
        ({"head.solver": "knn"}, "the number of neighbours"),
        ({"head.fit_on": "all", "head.strengths": [0.1]}, "head.fit_on=all has nothing to add"),
        ({"method": "cross-entropy-paper"}, None),
        ({"head.solver": "sgd"}, None),
        ({"data.shots": 2}, None),
    ],
)
def test_nothing_is_chosen_by_images_that_train(
    tmp_path: Path, more: dict[str, object], said: str | None
) -> None:
    data = write_digit_folder(tmp_path / "digits", classes=2, per_class=10)
    settings = {
        "data.path": str(data), "data.validation_fraction": 0.0, "backbone.spec": "pico",
        "precision": "fp32", "method": "lacvit", **more,
    }  # fmt: skip
    asked = pipeline.Request(tmp_path / "run")
    if said is None:
        assert pipeline.plan(make_settings(recipe=settings), asked, Silence())
        return
    every = "data.validation_fraction=0 trains on every image, so that none can choose"
    with pytest.raises(InputError, match=every) as refused:
        pipeline.train(make_settings(recipe=settings), asked)
    assert said in str(refused.value)
    assert not (tmp_path / "run").exists()
