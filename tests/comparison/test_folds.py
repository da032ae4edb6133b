"""Folds in place of a test split: when, how the runs go together, and what is said of them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compared_runs import CLASSES, write_run
from digit_folders import write_digit_folder, write_split_folder
from lacvit.comparison import Request, compare
from lacvit.comparison.answers import RunAnswers, read_answers
from lacvit.comparison.folds import (
    Size,
    choose_folds,
    out_of_fold,
    put_together,
    settle_folds,
)
from lacvit.comparison.judge import judge
from lacvit.comparison.plan import Cell, PlannedRun, plan_runs
from lacvit.comparison.tables import as_csv, as_markdown
from lacvit.errors import InputError
from lacvit.metrics.significance import fold_difference
from lacvit.run_folder import read_json
from lacvit.training.logs import Silence


class Messages(Silence):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def message(self, text: str) -> None:
        self.said.append(text)


@pytest.mark.parametrize(
    ("asked", "size", "expected"),
    [
        (None, Size(smallest=60, tested=12, beside=2, own_test=False), 5),
        (None, Size(smallest=98, tested=20, beside=2, own_test=False), None),
        (None, Size(smallest=60, tested=12, beside=2, own_test=True), None),
        (None, Size(smallest=4, tested=1, beside=2, own_test=False), 4),
        (None, Size(smallest=3, tested=1, beside=2, own_test=False), 3),
        (None, Size(smallest=2, tested=1, beside=2, own_test=False), None),
        (None, Size(smallest=13, tested=3, beside=11, own_test=False), None),
        (1, Size(smallest=60, tested=12, beside=2, own_test=False), None),
        (10, Size(smallest=60, tested=12, beside=2, own_test=False), 10),
        (10, Size(smallest=600, tested=120, beside=2, own_test=False), 10),
    ],
)
def test_the_data_decides_unless_the_user_does(
    asked: int | None, size: Size, expected: int | None
) -> None:
    assert choose_folds(asked, size) == expected


def test_a_tiny_folder_is_told_why_and_how_to_decline(tmp_path: Path) -> None:
    data = {"data.path": str(write_digit_folder(tmp_path / "tiny", per_class=8))}
    progress, request = Messages(), Request(output=tmp_path / "out", seeds=3)
    assert settle_folds(data, request, {}, progress).folds == 5
    (said,) = progress.said
    assert "the smallest class has 8 images, of which 2 would test: 5 folds instead" in said
    assert "3 repeats. --set data.folds=1 keeps one split." in said
    declined = settle_folds({**data, "data.folds": 1}, request, {}, progress)
    assert declined.folds is None
    with pytest.raises(InputError, match=r"data\.test_fraction is 0, which leaves no image to"):
        settle_folds({**data, "data.folds": 1, "data.test_fraction": 0.0}, request, {}, progress)
    own = write_split_folder(tmp_path / "own", {"train": 3, "test": 2})
    assert settle_folds({"data.path": str(own)}, request, {}, progress).folds is None


def test_a_comparison_keeps_the_design_that_it_began_with(tmp_path: Path) -> None:
    data = {"data.path": str(write_digit_folder(tmp_path / "tiny", per_class=8))}
    request = Request(output=tmp_path / "out")
    for began in (3, None):
        earlier = {"design": "folds" if began else "seeds", "folds": began}
        assert settle_folds(data, request, earlier, Silence()).folds == began
        same = {**data, "data.folds": began or 1}
        assert settle_folds(same, request, earlier, Silence()).folds == began
        with pytest.raises(InputError, match=r"began with .*, and data\.folds is 4\. Leave it out"):
            settle_folds({**data, "data.folds": 4}, request, earlier, Silence())


def test_every_fold_of_every_repeat_is_planned_before_the_next(tmp_path: Path) -> None:
    request = Request(
        output=tmp_path, methods=("linear-probe", "lacvit"), backbones=("pico",), seeds=2, folds=3
    )
    runs = plan_runs({"data.path": "photos"}, request)
    assert [(r.seed, r.fold, r.method) for r in runs[:3]] == [
        (0, 0, "linear-probe"), (0, 0, "lacvit"), (0, 1, "linear-probe"),
    ]  # fmt: skip
    assert len({run.folder for run in runs}) == len(runs) == 12
    for run in runs:
        data = run.settings.data
        assert (data.folds, data.fold, data.fold_repeat) == (3, run.fold, run.seed)
        assert run.settings.seed == run.seed
    with pytest.raises(InputError, match=r"data\.fold differs from run to run here"):
        plan_runs({"data.fold": 1}, request)


def fold_runs(
    tmp_path: Path, method: str, correct_rn: np.ndarray, fold_rn: np.ndarray
) -> list[tuple[PlannedRun, RunAnswers]]:
    """Run folders of every fold of every repeat, whose answers are right as told."""
    runs = []
    for repeat, (correct, fold) in enumerate(zip(correct_rn, fold_rn, strict=True)):
        for number in range(int(fold_rn.max()) + 1):
            folder = tmp_path / "runs" / f"{method}-s{repeat}-f{number}"
            tested = np.flatnonzero(fold == number)
            write_run(folder, correct, only=tested)
            run = PlannedRun(Cell("pico", None), method, repeat, None, folder, number)
            answers = read_answers(run)
            assert answers is not None
            runs.append((run, answers))
    return runs


def partitions(repeats: int, images: int, folds: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.stack([rng.permutation(np.arange(images) % folds) for _ in range(repeats)])


def test_the_folds_of_a_repeat_are_put_together_image_by_image(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    fold_rn, correct_rn = partitions(2, 30, 3), rng.uniform(size=(2, 30)) < 0.7
    runs = [answers for _, answers in fold_runs(tmp_path, "lacvit", correct_rn, fold_rn)]
    whole = put_together(runs, 3)
    assert [run.seed for run in whole] == [0, 1]
    for run, correct, fold in zip(whole, correct_rn, fold_rn, strict=True):
        order = np.argsort([f"{CLASSES[i % 2]}/{i:04d}.png" for i in range(30)])
        np.testing.assert_array_equal(run.correct_N, correct[order])
        np.testing.assert_array_equal(run.fold_N, fold[order])
        assert run.accuracy == pytest.approx(correct.mean())
    assert put_together(runs[:-1], 3)[-1].seed == 0, "a repeat is not told before it is whole"
    twice = [runs[0], replace(runs[0], fold=1), replace(runs[0], fold=2)]
    with pytest.raises(InputError, match=r"tested ant/\d+\.png twice: the data changed"):
        put_together(twice, 3)


def judged_folds(tmp_path: Path) -> tuple[dict, dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(1)
    fold_rn = partitions(2, 60, 5)
    ease = rng.uniform(size=60)
    answers = {
        name: ease + 0.05 * rng.normal(size=(2, 60)) < share
        for name, share in (("linear-probe", 0.5), ("lacvit", 0.9))
    }
    runs = [
        pair for name, rows in answers.items() for pair in fold_runs(tmp_path, name, rows, fold_rn)
    ]
    request = Request(output=tmp_path, methods=tuple(answers), seeds=2, folds=5)
    return judge(request, runs, "photos"), answers, fold_rn


def test_the_interval_knows_that_folds_share_training_images(tmp_path: Path) -> None:
    figures, answers, fold_rn = judged_folds(tmp_path)
    (pair,) = figures["cells"][0]["pairs"]
    overlap = 12 / 2  # write_run says that 2 images trained and validated each fold of 12
    expected = fold_difference(answers["lacvit"], answers["linear-probe"], fold_rn, overlap=overlap)
    assert pair["interval"] == pytest.approx(expected.interval)
    assert pair["basis"] == expected.basis == "corrected_t"
    assert pair["difference"] == pytest.approx(expected.difference)
    assert pair["seeds"] == 2


def test_a_comparison_by_folds_says_that_it_is_one(tmp_path: Path) -> None:
    figures, answers, _ = judged_folds(tmp_path)
    assert (figures["design"], figures["folds"], figures["repeats"]) == ("folds", 5, 2)
    assert "tested once per repeat" in figures["covers"]
    cell = figures["cells"][0]
    assert cell["images"] == 60
    words = cell["pairs"][0]["words"]
    assert "ahead in 2 of 2 repeats, on 60 images, each tested out of 5 folds" in words
    method = next(m for m in cell["methods"] if m["method"] == "lacvit")
    assert method["accuracy"] == pytest.approx(answers["lacvit"].mean())
    low, high = method["interval"]
    assert 0 <= low < method["accuracy"] < high <= 1
    assert [(run["seed"], run["fold"]) for run in method["runs"][4:6]] == [(0, 4), (1, 0)]
    assert as_csv(figures).splitlines()[1].startswith("pico,,linear-probe,0,0,")
    assert "60 images, each tested out of 5 folds." in as_markdown(figures)
    json.dumps(figures, allow_nan=False)


def test_half_a_repeat_is_not_compared(tmp_path: Path) -> None:
    fold_rn = partitions(1, 20, 2)
    correct = np.ones((1, 20), dtype=bool)
    runs = fold_runs(tmp_path, "lacvit", correct, fold_rn)
    runs += fold_runs(tmp_path, "linear-probe", correct, fold_rn)
    request = Request(output=tmp_path, methods=("linear-probe", "lacvit"), seeds=1, folds=2)
    figures = judge(request, [*runs[:3], (runs[3][0], None)], "photos")
    assert figures["missing"] == ["linear-probe-s0-f1"]
    assert figures["cells"][0]["pairs"] == []
    assert "no two methods have ended on the same repeat of folds" in figures["answer"]


def test_a_tiny_folder_end_to_end(tmp_path: Path) -> None:
    data = write_digit_folder(tmp_path / "tiny", classes=2, per_class=3)
    request = Request(
        output=tmp_path / "out", methods=("linear-probe", "lacvit"), backbones=("pico",), seeds=1
    )
    given = {"contrastive.epochs": 1, "precision": "fp32", "workers": 1, "data.path": str(data)}
    figures = compare(given, request).figures
    assert (figures["design"], figures["folds"], figures["complete"]) == ("folds", 3, True)
    assert figures["cells"][0]["images"] == 6
    for method in ("linear-probe", "lacvit"):
        paths = [
            read_json(tmp_path / "out" / "runs" / f"{method}-pico-s0-f{fold}" / "data.json")[
                "paths"
            ]
            for fold in range(3)
        ]
        tested = [path for fold in paths for path in fold["test"]]
        assert len(tested) == len(set(tested)) == 6
        for fold in paths:
            assert not set(fold["test"]) & {*fold["train"], *fold["validation"]}
    page = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    assert "each tested out of 3 folds" in page


def test_the_kept_model_says_what_it_was_trained_on_and_follows_its_images(tmp_path: Path) -> None:
    data = write_digit_folder(tmp_path / "tiny", classes=2, per_class=6)
    request = Request(
        output=tmp_path / "out",
        methods=("linear-probe", "cross-entropy"),
        backbones=("pico",),
        shots=(2,),
        seeds=1,
        pick=True,
    )
    given = {
        "contrastive.epochs": 1, "precision": "fp32", "workers": 1, "data.folds": 2,
    }  # fmt: skip
    picked = compare({**given, "data.path": str(data)}, request).figures["picked"]
    trained_on = read_json(request.output / picked["folder"] / "data.json")["paths"]["train"]
    assert len(trained_on) == 4
    assert "trained again on 2 images a class, drawn from all of them" in picked["words"]
    assert not picked["refitted_on_all"]
    moved = data.rename(tmp_path / "moved")
    again = compare({**given, "data.path": str(moved)}, request).figures["picked"]
    assert again == picked


def test_a_model_trained_on_all_has_the_figure_of_its_folds(tmp_path: Path) -> None:
    fold_rn = partitions(2, 30, 3)
    correct_rn = np.tile(np.arange(30) % 10 < 8, (2, 1))
    runs = [answers for _, answers in fold_runs(tmp_path, "lacvit", correct_rn, fold_rn)]
    said = out_of_fold(runs, 3)
    assert said.startswith("Out of 3 folds its method named 80.0 % of 30 images rightly (95 % int")
    assert said.endswith("each tested once in each of 2 repeats by a model that had not seen it")
