"""Which model a comparison keeps, and what is said of the images that it was trained on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compared_runs import write_run
from digit_folders import write_digit_folder, write_split_folder
from lacvit.comparison import Request, compare, keep, plan
from lacvit.comparison.answers import RunAnswers, read_answers
from lacvit.comparison.keep import Ended, Winner, choose
from lacvit.comparison.plan import Cell, PlannedRun
from lacvit.errors import InputError
from lacvit.run_folder import read_json, write_json
from lacvit.training.logs import Silence

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


def kept_from_folds(
    tmp_path: Path, methods: tuple[str, ...], data: Path, **more: object
) -> tuple[dict, Path]:
    """The record of the model that is kept, and the folder of the run that trained it."""
    request = Request(tmp_path / "out", methods, ("pico",), seeds=1, pick=True)
    given = {**GIVEN, "data.path": str(data), "data.folds": 2, **more}
    picked = compare(given, request).figures["picked"]
    return picked, request.output / picked["folder"]


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        (("linear-probe", "knn"), "trained again on all images, so none is left"),
        (
            ("lacvit", "cross-entropy-refit"),
            "on all images, with the folds' median of its head's strength and its temperature, so",
        ),
        (
            ("joint", "cross-entropy"),
            "on all images, with the folds' median of its first head's strength and its temperat",
        ),
        (
            ("cross-entropy-refit", "lacvit"),
            "median of its first head's strength and its head's strength and its temperature, so",
        ),
        (
            ("cross-entropy-paper", "joint"),
            "on all images, with the folds' median of its temperature, so none is left that could",
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
    chosen = [read_json(fold / "status.json")["head_strengths"] for fold in folds]
    used = read_json(run / "status.json")["head_strengths"]
    assert used == {stage: min(of_fold[stage] for of_fold in chosen) for stage in chosen[0]}
    assert len(used) == {"cross-entropy-paper": 0, "cross-entropy-refit": 2}.get(methods[0], 1)
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


@pytest.mark.parametrize("solver", ["knn", "sgd"])
def test_other_heads_of_a_kept_model(
    solver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keep, "choose", lambda ended: first_of("lacvit", choose(ended), ended))
    data = write_digit_folder(tmp_path / "tiny", classes=2, per_class=5)
    more = {"head.solver": solver, **({"head.epochs": 2} if solver == "sgd" else {})}
    picked, run = kept_from_folds(tmp_path, ("lacvit", "simclr"), data, **more)
    paths = read_json(run / "data.json")["paths"]
    if solver == "knn":  # images that vote are their own nearest: none of them may choose k
        assert (
            "on all images but those that validate, and then its head on these" in picked["words"]
        )
        assert set(paths["validation"]).isdisjoint(paths["train"])
    else:
        assert "on all images, with the folds' median of its temperature, so" in picked["words"]
        assert len(paths["train"]) == 10
    assert picked["refitted_on_all"] == (solver == "sgd")


def test_more_repeats_may_keep_another_model_and_an_older_version_kept_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_digit_folder(tmp_path / "tiny", classes=2, per_class=5)
    methods = ("lacvit", "linear-probe")
    monkeypatch.setattr(keep, "choose", lambda ended: first_of("lacvit", choose(ended), ended))
    _, run = kept_from_folds(tmp_path, methods, data)
    first = read_json(run / "status.json")
    kept = {"strengths": {"head": 0.003}, "temperature": 2.0}
    write_json(run / "status.json", {**first, "settled": kept})  # as other repeats had chosen
    picked, _ = kept_from_folds(tmp_path, methods, data)
    assert picked["refitted_on_all"]
    assert read_json(run / "status.json")["settled"] == first["settled"]
    made = (run / "environment.json").stat().st_mtime_ns
    kept_from_folds(tmp_path, methods, data)
    assert (run / "environment.json").stat().st_mtime_ns == made, "it is not trained again"
    for fold in run.parent.glob("lacvit-*-f*"):
        status = read_json(fold / "status.json")
        del status["head_strengths"]
        write_json(fold / "status.json", status)
    picked, _ = kept_from_folds(tmp_path, methods, data)
    assert "on all images but those that validate, and then its head on these" in picked["words"]


def test_held_out_classes_are_in_no_kept_model(tmp_path: Path) -> None:
    data = write_digit_folder(tmp_path / "tiny", classes=3, per_class=5)
    held = {"data.hold_out_classes": "digit 2"}
    picked, run = kept_from_folds(tmp_path, ("lacvit", "simclr"), data, **held)
    assert "on all images of the classes that are not held out, with the" in picked["words"]
    assert len(read_json(run / "data.json")["paths"]["train"]) == 10


def test_a_comparison_needs_images_to_choose_by(tmp_path: Path) -> None:
    data = str(write_digit_folder(tmp_path / "tiny", classes=2, per_class=5))
    request = Request(tmp_path / "out", ("linear-probe", "lacvit"), ("pico",))
    none = {"data.path": data, "data.validation_fraction": "0"}
    with pytest.raises(InputError, match=r"data\.validation_fraction=0 leaves no image to choose"):
        plan(none, request, Silence())
    with_shots = replace(request, shots=(1,))
    assert plan({**none, "data.folds": 1}, with_shots, Silence()), "which bring their own"
    own = write_split_folder(tmp_path / "own", {"train": 4, "val": 2})
    assert plan({**none, "data.path": str(own), "data.folds": 1}, request, Silence())
