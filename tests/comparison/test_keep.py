"""Which model a comparison keeps, and what is said of the images that it was trained on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compared_runs import write_run
from digit_folders import write_digit_folder
from lacvit.comparison import Request, compare
from lacvit.comparison.answers import RunAnswers, read_answers
from lacvit.comparison.keep import choose
from lacvit.comparison.plan import Cell, PlannedRun
from lacvit.errors import InputError
from lacvit.run_folder import read_json

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


@pytest.mark.parametrize(
    ("methods", "said", "all_of_it"),
    [
        (("linear-probe", "knn"), "trained again on all images, so none is left", True),
        (
            ("lacvit", "cross-entropy-refit"),
            "on all images but those that validate, and then its head on these too, so none",
            False,
        ),
        (
            ("cross-entropy", "joint"),
            "on all images but those that validate, so none is left that could test it",
            False,
        ),
    ],
)
def test_a_model_kept_from_folds_learns_from_what_it_says(
    methods: tuple[str, ...], said: str, all_of_it: bool, tmp_path: Path
) -> None:
    data = write_digit_folder(tmp_path / "tiny", classes=2, per_class=5)
    request = Request(tmp_path / "out", methods, ("pico",), seeds=1, pick=True)
    given = {**GIVEN, "data.path": str(data), "data.folds": 2}
    picked = compare(given, request).figures["picked"]
    assert said in picked["words"]
    assert picked["refitted_on_all"] == all_of_it
    run = request.output / picked["folder"]
    fits = 'fit_on = "all"' in (run / "settings.toml").read_text(encoding="utf-8")
    assert fits == (methods[0] != "cross-entropy")
    paths = read_json(run / "data.json")["paths"]
    assert len(paths["train"]) + len(paths["validation"]) == 10
