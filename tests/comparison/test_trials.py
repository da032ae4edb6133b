"""Trials, equal time and the kept model of a comparison: chosen on validation images alone."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from digit_folders import write_split_folder
from lacvit import pipeline
from lacvit.comparison import Request, compare
from lacvit.comparison.trial_runs import check_design
from lacvit.comparison.trials import TRIAL_SEED, best_of, candidates
from lacvit.errors import InputError
from lacvit.model import load

METHODS = ("linear-probe", "cross-entropy")
GIVEN = {"contrastive.epochs": 1, "precision": "fp32", "workers": 1}
SIZES = {"train": 6, "val": 5, "test": 8}


def request(output: Path, **changes: Any) -> Request:
    common = Request(output, METHODS, backbones=("pico",), seeds=1, trials=2, pick=True)
    return replace(common, **changes)


def test_candidates_are_a_function_of_the_method_alone() -> None:
    first = candidates("lacvit", 8)
    assert first == candidates("lacvit", 8) == candidates("lacvit", 9)[:8]
    assert len({candidate.name for candidate in first}) == 8
    assert first[0].name == "as it is"
    assert [c.rate for c in first[:5]] == [1, 0.5, 2, 4, 0.25]
    assert all(not c.changes for c in first[:5])
    assert all(c.changes for c in first[5:])


def test_what_the_user_set_is_not_tried() -> None:
    fixed = {"contrastive.lr", "contrastive.temperature"}
    found = candidates("lacvit", 3, fixed)
    assert all(c.rate == 1 and not set(c.changes) & fixed for c in found)
    with pytest.raises(InputError, match="lacvit has 3 settings to try beside those"):
        candidates("lacvit", 4, fixed)


def test_a_probe_has_no_trials_and_the_first_of_equals_wins() -> None:
    assert candidates("linear-probe", 4) == ()
    assert best_of([0.5, 0.75, 0.75]) == 1


def permute_test_labels(data: Path) -> None:
    classes = sorted((data / "test").iterdir())
    names = [path.name for path in classes]
    moved = [path.rename(path.with_name(f"moved {path.name}")) for path in classes]
    for path, other in zip(moved, [*names[1:], names[0]], strict=True):
        path.rename(path.with_name(other))


def test_test_labels_change_no_weight_of_any_stage(tmp_path: Path) -> None:
    weights = []
    for name in ("as they are", "permuted"):
        data = write_split_folder(tmp_path / name / "digits", SIZES)
        if name == "permuted":
            permute_test_labels(data)
        output = tmp_path / name / "out"
        asked = Request(output, ("knn", "joint-refit", "lacvit"), backbones=("pico",), seeds=1)
        compare({**GIVEN, "data.path": str(data)}, asked)
        places = sorted(output.glob("runs/*/model/model.safetensors"))
        weights.append({place.parts[-3]: load_file(place) for place in places})
    assert len(weights[0]) == 3
    for run, tensors in weights[0].items():
        other = weights[1][run]
        assert all(np.array_equal(tensor, other[key]) for key, tensor in tensors.items()), run


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same comparison twice; in the second the test images bear one another's labels."""
    folder = tmp_path_factory.mktemp("trials")
    outputs = []
    for name in ("as they are", "permuted"):
        data = write_split_folder(folder / name / "digits", SIZES)
        if name == "permuted":
            permute_test_labels(data)
        outputs.append(folder / name / "out")
        compare({**GIVEN, "data.path": str(data)}, request(outputs[-1]))
    return outputs


def figures(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "comparison.json").read_text())
    return found


def test_no_test_label_has_a_say(two: list[Path]) -> None:
    plain, permuted = (figures(output) for output in two)
    accuracy, other = (f["cells"][0]["methods"][0]["accuracy"] for f in (plain, permuted))
    assert accuracy != other
    for key in ("method", "validation_accuracies", "seed"):
        assert plain["picked"][key] == permuted["picked"][key]
    chosen, others = (
        [(tried["method"], tried["chosen"]) for tried in f["trials"]["tried"]]
        for f in (plain, permuted)
    )
    assert chosen == others
    weights, others = (load_file(output / "model" / "model.safetensors") for output in two)
    assert all(np.array_equal(weights[key], others[key]) for key in weights)


def test_a_trial_reads_no_test_image_and_keeps_no_weights(two: list[Path]) -> None:
    trials = sorted((two[0] / "trials").iterdir())
    assert [path.name for path in trials] == ["cross-entropy-pico-t0", "cross-entropy-pico-t1"]
    for path in trials:
        assert set(json.loads((path / "evaluation" / "metrics.json").read_text())) == {"validation"}
        assert not (path / "evaluation" / "predictions.parquet").exists()
        assert not (path / "model").exists()
        assert f"seed = {TRIAL_SEED}\n" in (path / "settings.toml").read_text()


def test_the_kept_model_loads_from_the_comparison(two: list[Path]) -> None:
    image = next((two[0].parent / "digits" / "test").rglob("*.png"))
    assert len(load(two[0]).predict([image])) == 1
    assert "validation" in (two[0] / "model" / "README.md").read_text()


def test_once_more_trains_nothing(two: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a run that has ended was begun again")

    monkeypatch.setattr(pipeline, "train", refuse)
    given = {**GIVEN, "data.path": str(two[0].parent / "digits")}
    before = figures(two[0])
    assert compare(given, request(two[0])).figures["picked"] == before["picked"]


def test_equal_time_is_decided_once(tmp_path: Path) -> None:
    data = write_split_folder(tmp_path / "digits", SIZES)
    given = {**GIVEN, "data.path": str(data), "contrastive.epochs": 2}
    asked = request(
        tmp_path / "out",
        methods=("lacvit", "cross-entropy", "cross-entropy-refit"),
        trials=0,
        pick=False,
        budget="equal-time",
    )
    first = compare(given, asked).figures["budget"]
    assert first["kind"] == "equal-time"
    assert first["cells"][0]["reference"] == "lacvit"
    scaled = first["cells"][0]["epochs"]
    assert scaled["cross-entropy"] == scaled["cross-entropy-refit"]  # one encoder, timed once
    epochs = scaled["cross-entropy"]["cross_entropy"]
    settings = (tmp_path / "out" / "runs" / "cross-entropy-pico-s0" / "settings.toml").read_text()
    assert f"epochs = {epochs}\n" in settings.split("[cross_entropy]")[1]
    assert compare(given, asked).figures["budget"] == first


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trials": -1}, "--trials is -1"),
        ({"trials": 1000}, "settings to try"),
        ({"budget": "equal-fun"}, "give equal-images or equal-time"),
    ],
)
def test_what_cannot_be_had_is_refused(
    changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    data = write_split_folder(tmp_path / "digits", SIZES)
    with pytest.raises(InputError, match=said):
        compare({**GIVEN, "data.path": str(data)}, request(tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def test_folds_leave_no_image_for_trials(tmp_path: Path) -> None:
    check_design(Request(output=tmp_path, folds=5))
    with pytest.raises(InputError, match=r"4 times as many runs again\. Leave --trials out"):
        check_design(Request(output=tmp_path, folds=5, trials=4))
