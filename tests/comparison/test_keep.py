"""Which model a comparison keeps, and what is said of the images that it was trained on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compared_runs import write_run
from digit_folders import write_digit_folder, write_split_folder
from lacvit.comparison import Request, compare, keep
from lacvit.comparison.answers import RunAnswers, read_answers
from lacvit.comparison.keep import Ended, Winner, choose
from lacvit.comparison.plan import Cell, PlannedRun
from lacvit.errors import InputError
from lacvit.run_folder import RunFolder, read_json

GIVEN = {"contrastive.epochs": 1, "precision": "fp32", "workers": 1}


def ended(
    folder: Path, shots: int | None, method: str, seed: int, validation: float
) -> tuple[PlannedRun, RunAnswers]:
    place = folder / f"{method}-{shots}-s{seed}"
    write_run(place, np.ones(4, dtype=bool))
    run = PlannedRun(Cell("pico", shots), method, seed, None, place)
    answers = read_answers(run)
    assert answers is not None
    return run, replace(answers, validation_accuracy=validation)


def test_only_the_most_images_a_class_are_set_against_each_other(tmp_path: Path) -> None:
    few = [ended(tmp_path, 2, "linear-probe", 0, 1.0), ended(tmp_path, 2, "lacvit", 0, 0.9)]
    many = [ended(tmp_path, 10, "linear-probe", 0, 0.7), ended(tmp_path, 10, "lacvit", 0, 0.8)]
    winner = choose([*few, *many])
    assert (winner.run.method, winner.run.cell.shots, winner.mean) == ("lacvit", 10, 0.8)
    assert winner.means == {
        "lacvit (pico, 10 a class)": 0.8,
        "linear-probe (pico, 10 a class)": 0.7,
    }
    assert choose([*many, ended(tmp_path, None, "knn", 0, 0.1)]).run.method == "knn"


def test_a_method_that_diverged_under_some_seed_is_not_chosen_by_the_others(tmp_path: Path) -> None:
    found = [ended(tmp_path, None, "linear-probe", seed, 0.6) for seed in range(3)]
    found += [ended(tmp_path, None, "lacvit", 0, 0.9)]
    winner = choose(found)
    assert (winner.run.method, winner.runs) == ("linear-probe", 3)
    with pytest.raises(InputError, match="Every run diverged, so that --pick has no model to keep"):
        choose([])


def kept_from_folds(tmp_path: Path, methods: tuple[str, ...], data: Path) -> tuple[dict, Path]:
    """The record of the model that is kept, and the folder of the run that trained it."""
    request = Request(tmp_path / "out", methods, ("pico",), seeds=1, pick=True)
    given = {**GIVEN, "data.path": str(data), "data.folds": 2}
    picked = compare(given, request).figures["picked"]
    return picked, request.output / picked["folder"]


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        (("linear-probe", "knn"), "trained again on all images, so none is left"),
        (
            ("lacvit", "cross-entropy-refit"),
            "on all images, its head's strength and temperature the median of the folds' runs, so",
        ),
        (
            ("joint", "cross-entropy"),
            "on all images, its head's strength and temperature the median of the folds' runs, so",
        ),
        (
            ("cross-entropy-paper", "joint"),
            "on all images, its temperature the median of the folds' runs, so none is left that",
        ),
    ],
)
def test_a_model_kept_from_folds_learns_from_all_images(
    methods: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keep, "choose", lambda ended: first_of(methods[0], choose(ended), ended))
    data = write_digit_folder(tmp_path / "tiny", classes=2, per_class=5)
    picked, run = kept_from_folds(tmp_path, methods, data)
    assert said in picked["words"]
    assert picked["refitted_on_all"]
    paths = read_json(run / "data.json")["paths"]
    if methods[0] == "linear-probe":
        assert len(paths["train"]) + len(paths["validation"]) == 10
        assert 'fit_on = "all"' in (run / "settings.toml").read_text(encoding="utf-8")
        return
    assert len(paths["train"]) == 10
    assert set(paths["validation"]) < set(paths["train"])
    folds = [run.with_name(run.name.replace("-all", f"-f{fold}")) for fold in range(2)]
    tested = [read_json(fold / "evaluation" / "metrics.json")["test"] for fold in folds]
    kept = read_json(tmp_path / "out" / "model" / "config.json")
    assert kept["temperature"] == min(test["temperature"] for test in tested)
    chosen = [read_json(fold / "status.json")["head_strength"] for fold in folds]
    if methods[0] != "cross-entropy-paper":
        assert RunFolder(run).resolved_settings()["head"]["strengths"] == [min(chosen)]
    card = (tmp_path / "out" / "model" / "README.md").read_text(encoding="utf-8")
    assert "none was left to measure it on" in card
    assert "Accuracy@1 on" not in card.split("## How it was chosen")[0]


def first_of(method: str, found: Winner, ended: Ended) -> Winner:
    """As though validation had preferred the method."""
    return replace(found, run=next(run for run, _ in ended if run.method == method))


def test_validation_images_that_the_data_gives_are_left_to_validate(tmp_path: Path) -> None:
    data = write_split_folder(tmp_path / "own", {"train": 4, "val": 2})
    picked, run = kept_from_folds(tmp_path, ("cross-entropy", "cross-entropy-refit"), data)
    refits = picked["method"] == "cross-entropy-refit"
    then = ", and then its head on these too" if refits else ""
    assert f"on all images but those that validate{then}, so none is left" in picked["words"]
    assert not picked["refitted_on_all"]
    paths = read_json(run / "data.json")["paths"]
    assert set(paths["validation"]).isdisjoint(paths["train"])


def test_a_comparison_needs_images_to_choose_by(tmp_path: Path) -> None:
    request = Request(tmp_path / "out", ("linear-probe", "lacvit"), ("pico",))
    with pytest.raises(InputError, match=r"data\.validation_fraction=0 leaves no image to choose"):
        compare({"data.path": "photos", "data.validation_fraction": 0.0}, request)
