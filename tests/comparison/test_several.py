"""Comparisons on several data sets, and the table of them."""

import csv
import json
from pathlib import Path

import pytest

from digit_folders import write_split_folder
from lacvit import pipeline
from lacvit.comparison import Request, compare, compare_several, given_for_each, requests_of
from lacvit.comparison.several import accuracies, as_csv, as_latex, as_markdown
from lacvit.errors import InputError, RunStopped
from lacvit.run_folder import read_json

GIVEN = {"contrastive.epochs": 1, "precision": "fp32", "workers": 1}


def cell(name: str, accuracy: dict[str, float], pairs: list[dict[str, object]] | None = None):
    return {
        "name": name, "backbone": name, "shots": None, "images": 1000, "seeds": [0, 1],
        "reference": "lacvit", "pairs": pairs or [],
        "methods": [
            {"method": method, "accuracy": share, "interval": None, "least": share, "most": share,
             "runs": [{"seed": 0}, {"seed": 1}, {"seed": 1}]}
            for method, share in accuracy.items()
        ],
    }  # fmt: skip


PAIR = {
    "method": "lacvit", "against": "linear-probe", "difference": 0.02, "interval": (0.01, 0.03),
    "detectable": 0.015, "p_value": 0.001, "p_holm": 0.01, "verdict": "better",
}  # fmt: skip
FIGURES = [
    {"data": "sets/birds_1", "complete": True, "missing": [],
     "cells": [cell("pico", {"linear-probe": 0.5, "lacvit": 0.52}, [PAIR])]},
    {"data": "sets/pets", "complete": True, "missing": [],
     "cells": [cell("pico", {"linear-probe": 0.7, "lacvit": 0.61})]},
]  # fmt: skip


def test_a_setting_is_a_row_and_the_last_row_their_mean() -> None:
    names, rows = accuracies(FIGURES)
    assert names == ["data", "setting", "images", "linear-probe", "lacvit"]
    assert rows == [
        ["birds_1", "pico", "1,000", "50.0", "52.0"],
        ["pets", "pico", "1,000", "70.0", "61.0"],
        ["mean", "", "", "60.0", "56.5"],
    ]


UNFINISHED = {
    **FIGURES[1], "complete": False, "missing": ["a", "b"], "failed": [{}],
    "copies": {"words": "2 of them."}, "cells": [cell("pico", {"lacvit": 0.61})],
}  # fmt: skip


def test_what_is_missing_is_said_and_takes_part_in_no_mean() -> None:
    uneven = [FIGURES[0], UNFINISHED]
    _, rows = accuracies(uneven)
    assert rows[-1] == ["pets", "pico", "1,000", "", "61.0"]
    said = (
        "pets: Unfinished: 2 runs are missing, 1 of them because they diverged. Test images were "
        "seen in training. 2 of them."
    )
    assert said in as_markdown(uneven)
    assert f"% {said}" in as_latex(uneven)
    lines = list(csv.DictReader(as_csv(uneven).splitlines()))
    assert [line["complete"] for line in lines] == ["True", "True", "False"]
    assert {line["seeds"] for line in lines} == {"2"}


def test_the_table_as_markdown_latex_and_csv() -> None:
    text = as_markdown(FIGURES)
    assert "Unfinished" not in text
    assert "| birds_1 | pico | lacvit | linear-probe | +2.0 | +1.0 to +3.0 | 1.5 |" in text
    assert r"birds\_1 & pico & 1,000 & 50.0 & 52.0 \\" in as_latex(FIGURES)
    assert r"birds\_1 & pico & lacvit & linear-probe & +2.0 & +1.0 to +3.0 & 1.5 &" in as_latex(
        FIGURES
    )
    lines = list(csv.DictReader(as_csv(FIGURES).splitlines()))
    assert [(line["data"], line["method"], line["accuracy"]) for line in lines] == [
        ("sets/birds_1", "linear-probe", "0.5"), ("sets/birds_1", "lacvit", "0.52"),
        ("sets/pets", "linear-probe", "0.7"), ("sets/pets", "lacvit", "0.61"),
    ]  # fmt: skip


def test_sets_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a/photos and b/photos would share the folder"):
        requests_of(Request(output=tmp_path), ["a/photos", "b/photos"])


def test_the_folder_of_one_comparison_takes_no_others(tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text("{}")
    with pytest.raises(InputError, match="holds the comparison on one data set"):
        requests_of(Request(output=tmp_path), ["one", "two"])


def test_several_sets_are_run_each_in_its_own_folder_and_none_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"train": 4, "val": 2, "test": 20}
    sets = [str(write_split_folder(tmp_path / name, sizes)) for name in ("one", "two")]
    request = Request(
        output=tmp_path / "out", methods=("knn", "linear-probe"), backbones=("pico",), seeds=1
    )
    compare({**GIVEN, "data.path": sets[0]}, requests_of(request, sets)[sets[0]])
    begun: list[str] = []
    real = pipeline.train

    def stop_at_the_second(settings, asked, **more):
        begun.append(settings.data.path)
        if len(begun) == 2:
            raise RunStopped("stopped by hand")
        return real(settings, asked, **more)

    monkeypatch.setattr(pipeline, "train", stop_at_the_second)
    with pytest.raises(RunStopped):
        compare_several(GIVEN, request, sets)
    assert begun == [sets[1], sets[1]], "the first set's runs had ended before"
    table = request.output / "one+two.md"
    assert "| one | pico |" in table.read_text()
    assert "| two | pico |" not in table.read_text()

    comparisons = compare_several(GIVEN, request, sets)
    assert [comparison.folder.name for comparison in comparisons] == ["one", "two"]
    assert "Unfinished" not in table.read_text()
    assert "| mean | " in table.read_text()
    kept = json.loads((request.output / "one+two.json").read_text())
    assert kept == [read_json(one.folder / "comparison.json") for one in comparisons]
    assert len(begun) == 3
    compare_several(GIVEN, request, sets[::-1])
    assert "| mean | " in (request.output / "two+one.md").read_text()


def test_a_root_is_for_the_sets_that_are_named(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    photos, given = str(tmp_path / "photos"), {"data.root": "sets", "seed": 1}
    assert given_for_each(given, [photos, "cub200"]) == {
        photos: {"seed": 1, "data.path": photos},
        "cub200": {"seed": 1, "data.root": "sets", "data.path": "cub200"},
    }
    alone = given_for_each(given, [photos])
    assert "data.root" in alone[photos], "so that it is refused as it would be elsewhere"


def test_nothing_is_trained_before_every_set_was_found_sound(tmp_path: Path) -> None:
    good = write_split_folder(tmp_path / "one", {"train": 4, "val": 2, "test": 20})
    request = Request(
        output=tmp_path / "out", methods=("knn", "linear-probe"), backbones=("pico",), seeds=1
    )
    with pytest.raises(InputError, match="missing"):
        compare_several(GIVEN, request, [str(good), str(tmp_path / "missing")])
    assert not request.output.exists()


def test_methods_that_a_set_has_not_yet_leave_no_mean() -> None:
    """As where a method was added to a comparison, and the next set has not come to it."""
    more = {"linear-probe": 0.5, "lacvit": 0.52, "knn": 0.4}
    names, rows = accuracies([{**FIGURES[0], "cells": [cell("pico", more)]}, FIGURES[1]])
    assert names[-1] == "knn"
    assert rows[-1] == ["pets", "pico", "1,000", "70.0", "61.0", ""]
