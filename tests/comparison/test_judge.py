"""What a comparison says of runs that have ended, on run folders with made-up answers."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from compared_runs import judged, made_up, planned, write_run
from lacvit.comparison.answers import read_answers
from lacvit.comparison.judge import judge
from lacvit.comparison.plan import Request, plan_runs
from lacvit.comparison.tables import as_csv, as_latex, as_markdown
from lacvit.errors import InputError
from lacvit.metrics.significance import paired_difference


def test_differences_are_those_of_the_paired_answers(tmp_path: Path) -> None:
    answers = made_up({"linear-probe": 0.5, "lacvit": 0.6})
    figures = judged(tmp_path, answers)
    (pair,) = figures["cells"][0]["pairs"]
    expected = paired_difference(answers["lacvit"], answers["linear-probe"])
    assert pair["method"] == "lacvit"
    assert pair["against"] == "linear-probe"
    for name in ("difference", "interval", "image_bootstrap", "two_way", "paired_t", "mcnemar"):
        assert pair[name] == pytest.approx(getattr(expected, name)), name
    assert pair["verdict"] == "better"
    assert figures["complete"]
    json.dumps(figures, allow_nan=False)


def test_the_answer_begins_with_what_lacvit_loses_to(tmp_path: Path) -> None:
    figures = judged(tmp_path, made_up({"linear-probe": 0.5, "cross-entropy": 0.7, "lacvit": 0.6}))
    answer = figures["answer"]
    assert answer.startswith("pico, 10 a class: lacvit is worse than cross-entropy (-")
    assert "; it is better than linear-probe (+" in answer
    worse = next(p for p in figures["cells"][0]["pairs"] if p["against"] == "cross-entropy")
    assert worse["words"].startswith("lacvit is -")
    assert ": worse. Use cross-entropy here. The smallest difference" in worse["words"]


def test_a_draw_is_called_one(tmp_path: Path) -> None:
    answers = made_up({"cross-entropy": 0.6, "lacvit": 0.6}, images=4000)
    figures = judged(tmp_path, answers, margin=0.03)
    assert "lacvit equals cross-entropy (" in figures["answer"]
    assert "equal within the margin" in figures["cells"][0]["pairs"][0]["words"]


def test_few_images_settle_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    answers = {name: rng.uniform(size=(3, 30)) < 0.6 for name in ("cross-entropy", "lacvit")}
    figures = judged(tmp_path, answers)
    assert "cannot be told from cross-entropy" in figures["answer"]
    assert "not settled; differences beyond" in figures["cells"][0]["pairs"][0]["words"]


def test_one_seed_says_what_it_did_not_measure(tmp_path: Path) -> None:
    figures = judged(tmp_path, made_up({"linear-probe": 0.5, "lacvit": 0.6}, seeds=1))
    assert (
        "what another seed would change was not measured"
        in figures["cells"][0]["pairs"][0]["words"]
    )


def test_holm_runs_over_the_whole_report(tmp_path: Path) -> None:
    figures = judged(
        tmp_path, made_up({"linear-probe": 0.58, "cross-entropy": 0.59, "lacvit": 0.6})
    )
    pairs = figures["cells"][0]["pairs"]
    smallest = min(pairs, key=lambda pair: pair["p_value"])
    assert smallest["p_holm"] == pytest.approx(min(1.0, 2 * smallest["p_value"]))


def test_without_lacvit_the_last_method_is_set_against_the_others(tmp_path: Path) -> None:
    figures = judged(tmp_path, made_up({"linear-probe": 0.5, "cross-entropy": 0.6}))
    (pair,) = figures["cells"][0]["pairs"]
    assert (pair["method"], pair["against"]) == ("cross-entropy", "linear-probe")


def test_a_half_finished_comparison_says_what_there_is(tmp_path: Path) -> None:
    done, other = planned(tmp_path, "lacvit", 0), planned(tmp_path, "linear-probe", 0)
    write_run(done.folder, np.array([True, False]))
    write_run(other.folder, np.array([True, False]), finished=False)
    request = Request(output=tmp_path, methods=("linear-probe", "lacvit"), seeds=1)
    figures = judge(request, [(r, read_answers(r)) for r in (done, other)], "photos")
    assert not figures["complete"]
    assert figures["missing"] == ["linear-probe-s0"]
    assert figures["cells"][0]["pairs"] == []
    assert "Unfinished: 1 runs are missing." in as_markdown(figures)


def test_only_seeds_that_every_method_has_are_compared(tmp_path: Path) -> None:
    answers = made_up({"linear-probe": 0.5, "lacvit": 0.6})
    answers["linear-probe"] = answers["linear-probe"][:2]
    figures = judged(tmp_path, answers)
    assert figures["cells"][0]["seeds"] == [0, 1]
    assert figures["cells"][0]["pairs"][0]["seeds"] == 2


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"correct": np.ones(5, dtype=bool)}, r"they were tested on other images \(6 and 5"),
        (
            {"correct": np.ones(6, dtype=bool), "classes": ["ant", "wasp"]},
            r"classes differ \(bee, w",
        ),
    ],
)
def test_runs_that_do_not_compare_are_refused(tmp_path: Path, other: dict, said: str) -> None:
    first, second = planned(tmp_path, "lacvit", 0), planned(tmp_path, "linear-probe", 0)
    write_run(first.folder, np.ones(6, dtype=bool))
    write_run(second.folder, **other)
    request = Request(output=tmp_path, methods=("linear-probe", "lacvit"), seeds=1)
    with pytest.raises(InputError, match=said):
        judge(request, [(r, read_answers(r)) for r in (first, second)], "photos")


def test_a_test_image_that_chose_the_model_is_refused(tmp_path: Path) -> None:
    run = planned(tmp_path, "lacvit", 0)
    write_run(run.folder, np.ones(4, dtype=bool), leak=True)
    with pytest.raises(
        InputError, match=r"tested on 1 images that trained or chose it, such as ant"
    ):
        read_answers(run)


def test_tables_hold_the_same_figures(tmp_path: Path) -> None:
    answers = made_up({"linear-probe": 0.5, "lacvit": 0.6})
    figures = judged(tmp_path, answers)
    rows = list(csv.DictReader(io.StringIO(as_csv(figures))))
    assert len(rows) == 6
    for row in rows:
        expected = answers[row["method"]][int(row["seed"])].mean()
        assert float(row["accuracy"]) == pytest.approx(expected)
    mean = f"{100 * answers['lacvit'].mean():.1f}"
    assert f"| lacvit | {mean} |" in as_markdown(figures)
    assert f"pico, 10 a class & lacvit & {mean} &" in as_latex(figures)
    assert as_latex(figures).count("{") == as_latex(figures).count("}")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"methods": ("lacvit",)}, "--methods names lacvit; give two or more"),
        ({"methods": ("lacvit", "lacvit")}, "--methods names lacvit twice"),
        ({"methods": ("lacvit", "magic")}, "There is no method 'magic'"),
        ({"seeds": 0}, "--seeds is 0; give at least 1"),
        ({"backbones": ()}, "--backbones names none"),
        ({"shots": (3, 3)}, "pico, 3 a class is named twice"),
        ({"backbones": ("file:a/m.pth", "file:b/m.pth")}, "file:a/m.pth and file:b/m.pth would sh"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, change: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        plan_runs(
            {"data.path": "photos"}, Request(output=tmp_path, **{"backbones": ("pico",), **change})
        )


def test_a_setting_that_differs_from_run_to_run_has_its_flag(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="seed differs from run to run here: give it by --seeds"):
        plan_runs({"seed": 3}, Request(output=tmp_path))


def test_every_method_meets_every_seed_of_every_cell(tmp_path: Path) -> None:
    request = Request(
        output=tmp_path,
        methods=("linear-probe", "lacvit"),
        backbones=("pico", "timm:vit_tiny_patch16_224"),
        shots=(10, 50),
        seeds=2,
    )
    runs = plan_runs({"data.path": "photos", "contrastive.temperature": 0.2}, request)
    assert len(runs) == len({run.folder for run in runs}) == 16
    assert [run.seed for run in runs] == [0] * 8 + [1] * 8, "seed after seed"
    assert {run.settings.data.shots for run in runs} == {10, 50}
    assert all(run.settings.contrastive.temperature == 0.2 for run in runs)
