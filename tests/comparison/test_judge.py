"""What a comparison says of runs that have ended, on run folders with made-up answers."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compared_runs import judged, made_up, planned, write_run
from lacvit.cli.compare import compare as compare_command
from lacvit.comparison.answers import read_answers
from lacvit.comparison.judge import judge, shortfalls
from lacvit.comparison.latex import as_latex, latex_row
from lacvit.comparison.plan import Cell, PlannedRun, Request, plan_runs
from lacvit.comparison.tables import as_csv, as_markdown, markdown_table
from lacvit.comparison.words import VERDICTS, answer, pair_words, points, standing
from lacvit.errors import InputError
from lacvit.metrics.significance import paired_difference


def test_differences_are_those_of_the_paired_answers(tmp_path: Path) -> None:
    answers = made_up({"linear-probe": 0.5, "lacvit": 0.6})
    figures = judged(tmp_path, answers)
    (pair,) = figures["cells"][0]["pairs"]
    expected = paired_difference(answers["lacvit"], answers["linear-probe"])
    assert pair["method"] == "lacvit"
    assert pair["against"] == "linear-probe"
    for name in (
        "difference", "interval", "image_bootstrap", "two_way", "paired_t", "mcnemar", "p_value",
    ):  # fmt: skip
        assert pair[name] == pytest.approx(getattr(expected, name)), name
    assert pair["verdict"] == "better"
    assert figures["complete"]
    json.dumps(figures, allow_nan=False)


def test_the_answer_names_the_leader_and_what_lacvit_loses_to(tmp_path: Path) -> None:
    figures = judged(tmp_path, made_up({"linear-probe": 0.5, "cross-entropy": 0.7, "lacvit": 0.6}))
    answer = figures["answer"]
    assert answer.startswith("pico, 10 a class: cross-entropy has the highest accuracy, 64.2 %; it")
    assert "; it is better than lacvit (+8.2 points, +" in answer
    assert ") and linear-probe (+18.9 points, " in answer
    assert answer.endswith(" lacvit is worse than cross-entropy; it is better than linear-probe.")
    assert figures["cells"][0]["leader"] == "cross-entropy"
    worse = next(p for p in figures["cells"][0]["pairs"] if p["against"] == "cross-entropy")
    assert worse["words"].startswith("lacvit is -")
    assert ": worse. Use cross-entropy here. The smallest difference" in worse["words"]


def test_what_does_not_survive_the_correction_is_said_so_everywhere(tmp_path: Path) -> None:
    answers = made_up({"linear-probe": 0.58, "cross-entropy": 0.585, "lacvit": 0.6}, images=1500)
    found = judged(tmp_path, answers)
    for pair in found["cells"][0]["pairs"]:
        kind = standing(pair["verdict"], pair["p_holm"])
        assert pair["standing"] == VERDICTS[kind]
    (pair,) = [p for p in found["cells"][0]["pairs"] if p["against"] == "linear-probe"]
    pair |= {"verdict": "better", "p_holm": 0.2, "standing": VERDICTS["ahead"]}
    assert "better, but not among all pairs" in as_latex(found)
    assert "worse, but not among all pairs" in as_csv(found)


def test_several_settings_have_one_sentence(tmp_path: Path) -> None:
    runs = []
    for shots, shares in ((2, (0.5, 0.7)), (5, (0.6, 0.6)), (9, (0.7, 0.5))):
        answers = made_up(dict(zip(("linear-probe", "lacvit"), shares, strict=True)))
        for method, correct_sn in answers.items():
            for seed, correct in enumerate(correct_sn):
                place = tmp_path / "runs" / f"{method}-{shots}-s{seed}"
                write_run(place, correct)
                run = PlannedRun(Cell("pico", shots), method, seed, None, place)
                runs.append((run, read_answers(run)))
    request = Request(tmp_path, ("linear-probe", "lacvit"), shots=(2, 5, 9), seeds=3)
    alone = [(run, answers) for run, answers in runs if run.method == "lacvit"]
    assert judge(replace(request, methods=("lacvit",)), alone, "photos")["overall"] == ""
    figures = judge(request, runs, "photos")
    assert figures["overall"].startswith("Of 3 settings the highest accuracy has l")
    assert "lacvit against linear-probe: worse in 1, " in figures["overall"]
    assert figures["overall"].endswith("better in 1.")
    assert figures["answer"].startswith(figures["overall"])
    assert judged(tmp_path / "one", made_up({"linear-probe": 0.5, "lacvit": 0.6}))["overall"] == ""


def test_what_was_measured_stands_in_every_table(tmp_path: Path) -> None:
    figures = judged(tmp_path, made_up({"linear-probe": 0.5, "lacvit": 0.6}))
    figures["cells"][0]["embeddings"] = {
        "geometry": {"IsoScore": {"untouched": 0.25, "lacvit": None}},
        "quality": {"R@1": {"untouched": 0.5, "lacvit": 0.625}},
        "verdicts": {"lacvit": "So."},
    }
    figures["cells"][0]["held_out"] = {
        "class_names": ["wasp"], "images": 12, "measures": {"AUROC": {"lacvit": 0.75}},
    }  # fmt: skip
    text, tex = as_markdown(figures), as_latex(figures)
    for row in (("IsoScore", "0.250", ""), ("R@1", "0.500", "0.625"), ("AUROC", "0.750")):
        assert f"| {' | '.join(row)} |" in text
        assert latex_row(row) in tex
    assert "Classes never trained on (wasp; 12 images)" in text
    assert tex.count(r"\begin{tabular}") == tex.count(r"\bottomrule") == 4


def test_a_draw_is_called_one(tmp_path: Path) -> None:
    answers = made_up({"cross-entropy": 0.6, "lacvit": 0.6}, images=4000)
    figures = judged(tmp_path, answers, margin=0.03)
    assert "cross-entropy has the highest accuracy, 60.6 %; it equals lacvit (" in figures["answer"]
    assert "equal within the margin" in figures["cells"][0]["pairs"][0]["words"]


def test_few_images_settle_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    answers = {name: rng.uniform(size=(3, 30)) < 0.6 for name in ("cross-entropy", "lacvit")}
    figures = judged(tmp_path, answers)
    assert "; it cannot be told from " in figures["answer"]
    assert "not settled; differences beyond" in figures["cells"][0]["pairs"][0]["words"]


def test_one_seed_says_what_it_did_not_measure(tmp_path: Path) -> None:
    figures = judged(tmp_path, made_up({"linear-probe": 0.5, "lacvit": 0.6}, seeds=1))
    assert (
        "what another seed would change was not measured"
        in figures["cells"][0]["pairs"][0]["words"]
    )


def test_the_default_method_and_the_leader_are_set_against_all_others(tmp_path: Path) -> None:
    shares = {"linear-probe": 0.5, "cross-entropy": 0.7, "knn": 0.5, "lacvit": 0.6}
    answers = made_up(shares | {"cross-entropy-refit": 0.62})
    figures = judged(tmp_path, answers)
    cell = figures["cells"][0]
    assert cell["reference"] == "lacvit"
    assert {pair["method"] for pair in cell["pairs"][:4]} == {"lacvit"}
    default = [("cross-entropy-refit", other) for other in ("linear-probe", "cross-entropy", "knn")]
    leader = [("cross-entropy", other) for other in ("linear-probe", "knn")]
    assert [(pair["method"], pair["against"]) for pair in cell["pairs"][4:]] == default + leader
    assert figures["pairs_looked_at"] == 10
    assert (
        "cross-entropy-refit, the method that lacvit train would choose, is behind "
        "cross-entropy, but" in cell["answer"]
    )
    rows = list(csv.DictReader(io.StringIO(as_csv(figures))))
    against_itself = next(row for row in rows if row["method"] == "cross-entropy-refit")
    assert against_itself["difference_to_cross-entropy-refit"] == ""
    probe = next(row for row in rows if row["method"] == "linear-probe")
    ours = next(pair for pair in cell["pairs"] if pair["against"] == "linear-probe")
    assert float(probe["difference_to_lacvit"]) == pytest.approx(-ours["difference"])
    assert float(probe["low_to_lacvit"]) == pytest.approx(-ours["interval"][1])
    assert float(probe["p_holm_to_lacvit"]) == pytest.approx(ours["p_holm"])
    assert (ours["verdict"], probe["verdict_to_lacvit"]) == ("better", "worse")


def test_a_claim_that_does_not_survive_holm_says_so() -> None:
    a, b = np.ones((3, 100), dtype=bool), np.ones((3, 100), dtype=bool)
    b[0, :8], b[1, :9], b[2, :10] = False, False, False
    found = paired_difference(a, b)
    assert found.verdict == "better"
    assert ": better. " in pair_words("lacvit", "knn", found, 0.05)
    said = pair_words("lacvit", "knn", found, 0.2)
    assert (
        "better if this pair were the only one; among all pairs of the report it is not s" in said
    )
    assert "by Holm 0.2)" in said
    back = pair_words("knn", "lacvit", found.mirrored(), 0.2)
    assert "worse if this pair were the only one" in back
    assert "Use lacvit here" not in back
    told = answer(
        "knn",
        "joint-refit",
        "lacvit",
        {"lacvit": 1.0, "knn": 0.5},
        {("lacvit", "knn"): (found, 0.2)},
    )
    assert told.startswith("lacvit has the highest accuracy, 100.0 %; it is ahead of knn (+9.0 p")
    level = {"lacvit": 0.9, "knn": 0.9, "joint": 0.9, "simclr": 0.5}
    told_level = answer("knn", "joint-refit", "lacvit", level, {("lacvit", "knn"): (found, 0.2)})
    assert told_level == "lacvit has the highest accuracy, 90.0 %, and so have knn and joint."
    almost = level | {"knn": 0.9 - 1e-16}  # as many right answers, in another order of sums
    assert ", and so have knn and joint." in answer("knn", "joint-refit", "lacvit", almost, {})
    assert "), but not surely so among all pairs of the report." in told


def test_of_one_run_each_the_verdict_is_about_two_trained_models() -> None:
    right, fewer = np.ones((1, 100), dtype=bool), np.ones((1, 100), dtype=bool)
    fewer[0, :30] = False
    found = paired_difference(right, fewer)
    assert "better, of these two trained models; what" in pair_words("lacvit", "knn", found, 0.01)
    back = pair_words("knn", "lacvit", found.mirrored(), 0.01)
    assert "worse, of these two trained models; what another seed would change was not m" in back
    assert "Use lacvit here" not in back


def test_words_claim_nothing_impossible(tmp_path: Path) -> None:
    a, b = np.ones((2, 4), dtype=bool), np.ones((2, 4), dtype=bool)
    a[0, :2], b[1, :3] = False, False
    said = pair_words("lacvit", "knn", paired_difference(a, b), 1.0)
    assert "(95 % interval -100.0 to +100.0), ahead in 1 of 2 seeds, on 4 test images" in said
    assert "not settled; no difference is excluded." in said
    assert said.endswith("So small a design finds no difference, however large.")
    same = judged(tmp_path, {"knn": np.ones((1, 20), dtype=bool), "lacvit": np.ones((1, 20), bool)})
    words = same["cells"][0]["pairs"][0]["words"]
    assert words.startswith("lacvit is 0.0 points over knn (95 % interval -")
    assert "ahead in 0 of 1 seed, level in 1, on 20 test images: not settled" in words
    assert "finds: 0.0" not in words
    for method in same["cells"][0]["methods"]:
        assert method["interval"][0] < 0.9, "20 right of 20 are no proof of 100 %"


@pytest.mark.parametrize(("share", "said"), [(-0.0, "0.0"), (-0.0004, "0.0"), (0.012, "+1.2")])
def test_nothing_has_no_sign(share: float, said: str) -> None:
    assert points(share) == said


@pytest.mark.parametrize("margin", ["-1", "0", "nan"])
def test_a_margin_that_holds_nothing_is_refused(margin: str) -> None:
    with pytest.raises(InputError, match=r"--margin is .*; give more than 0 points, within which"):
        compare_command(["photos"], margin=float(margin), methods="knn,lacvit")


def test_holm_runs_over_the_whole_report(tmp_path: Path) -> None:
    figures = judged(
        tmp_path, made_up({"linear-probe": 0.58, "cross-entropy": 0.59, "lacvit": 0.6})
    )
    pairs = figures["cells"][0]["pairs"]
    smallest = min(pairs, key=lambda pair: pair["p_value"])
    assert smallest["p_holm"] == pytest.approx(min(1.0, 3 * smallest["p_value"])), (
        "the pair of the others was looked at too"
    )


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
    assert "Unfinished: 1 run is missing." in as_markdown(figures)
    assert as_latex(figures).startswith("% Unfinished: 1 run is missing.\n% Every method met")
    (row,) = csv.DictReader(io.StringIO(as_csv(figures)))
    assert row["complete"] == "False"


def test_how_runs_were_set_stands_in_every_table(tmp_path: Path) -> None:
    figures = judged(tmp_path, made_up({"linear-probe": 0.5, "lacvit": 0.6}))
    told = {
        "auto": {"words": "Backbone: pico."},
        "asked": "Set for every method: a=1.",
        "budget": {"kind": "equal-time", "cells": [{"words": "lacvit trains for 2 s."}]},
        "trials": {"words": "4 trials each."},
        "picked": {"words": "lacvit has the highest mean."},
    }
    said = [
        "Backbone: pico.", "Set for every method: a=1.", "lacvit trains for 2 s.",
        "4 trials each.", "The model that is kept: lacvit has the highest mean.",
        figures["covers"],
    ]  # fmt: skip
    lines = as_markdown({**figures, **told}).splitlines()
    assert [line for line in lines if line in said] == said
    assert as_latex({**figures, **told}).splitlines()[: len(said)] == [f"% {one}" for one in said]
    assert said[1] not in as_markdown(figures)


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
    assert {row["complete"] for row in rows} == {"True"}
    (pair,) = figures["cells"][0]["pairs"]
    p, p_holm = pair["p_value"], pair["p_holm"]
    assert f"| {p:.3f} | {p_holm:.3f} | better |" in as_markdown(figures)
    assert f"& {p:.3f} & {p_holm:.3f} & better" in as_latex(figures)
    assert "about those two trained models only" in as_markdown(figures)
    assert "- lacvit and linear-probe: seed 0: <0.001, seed 1: " in as_markdown(figures)
    assert "lacvit & linear-probe & +" in as_latex(figures)
    assert "Unfinished" not in as_latex(figures)
    assert as_latex(figures).count("{") == as_latex(figures).count("}")


def test_names_with_signs_of_their_own_do_not_break_the_tables() -> None:
    assert latex_row((r"file:~/a_b^{2}\$", "50 %")) == (
        r"file:\textasciitilde{}/a\_b\textasciicircum{}\{2\}\textbackslash{}\$ & 50 \% \\"
    )
    assert markdown_table(("name",), [("a|b",)])[2] == r"| a\|b |"


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


def test_a_mean_and_its_interval_are_of_the_same_seeds(tmp_path: Path) -> None:
    """A method of which seeds are missing leaves its seeds alone to the others' figures too."""
    answers = made_up({"linear-probe": 0.9, "cross-entropy": 0.5, "lacvit": 0.6}, seeds=5)
    answers["linear-probe"][1:] = False  # where it is not compared, it is much worse
    answers["cross-entropy"] = answers["cross-entropy"][:1]
    cell = judged(tmp_path, answers)["cells"][0]
    assert cell["seeds"] == [0]
    for method in cell["methods"]:
        low, high = method["interval"]
        assert low < method["accuracy"] < high, method["method"]
        assert method["least"] == method["accuracy"] == method["most"]
    assert len(cell["methods"][0]["runs"]) == 5  # all are told of
    assert cell["leader"] == "linear-probe"


def test_what_one_seed_covers_is_said(tmp_path: Path) -> None:
    once = judged(tmp_path / "one", made_up({"linear-probe": 0.5, "lacvit": 0.6}, seeds=1))
    assert "not the luck of the training runs" in once["covers"]
    thrice = judged(tmp_path / "three", made_up({"linear-probe": 0.5, "lacvit": 0.6}))
    assert "other training runs" in thrice["covers"]


def test_a_method_that_never_ended_is_above_nothing(tmp_path: Path) -> None:
    answers = made_up({"linear-probe": 0.5, "cross-entropy": 0.55, "lacvit": 0.6})
    whole = judged(tmp_path / "whole", answers)
    assert list(shortfalls(whole, -1.0)) == []
    assert len(list(shortfalls(whole, 9.0))) == 1
    del answers["lacvit"]
    without = {**judged(tmp_path / "without", answers), "methods": whole["methods"]}
    assert [words.split(": ")[1] for words in shortfalls(without, -100.0)] == [
        f"lacvit has no run that ended, to set lacvit against {other}."
        for other in ("linear-probe", "cross-entropy")
    ]
