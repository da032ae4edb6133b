"""Runs on other images are refused, however they came into the comparison's folder."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from compared_runs import planned, write_run
from digit_folders import write_digit_folder, write_split_folder
from lacvit.comparison import Request, compare
from lacvit.comparison.answers import correct_by_seed, read_answers
from lacvit.comparison.compare import plan
from lacvit.comparison.identity import find_copies
from lacvit.errors import InputError
from lacvit.run_folder import read_json, write_json
from lacvit.shared import Shared
from lacvit.training.logs import Silence

GIVEN = {"precision": "fp32", "workers": 1}
METHODS = ("knn", "linear-probe")


def test_runs_on_other_images_are_refused_though_the_figures_are_gone(tmp_path: Path) -> None:
    data = write_split_folder(tmp_path / "digits", {"train": 4, "val": 3, "test": 4})
    request = Request(tmp_path / "out", METHODS, ("pico",), seeds=1)
    given = {**GIVEN, "data.path": str(data)}
    compare(given, request)
    kept = request.output / "runs" / "knn-pico-s0"
    shutil.copytree(kept, tmp_path / "mine")
    for file in request.output.glob("comparison.*"):
        file.unlink()
    one, other, aside = (data / "train" / name for name in ("digit 0", "digit 1", "aside"))
    for place, to in ((one, aside), (other, one), (aside, other)):
        place.rename(to)
    said = (
        r"knn-pico-s0 is of other images than .*digits: its train images differ by "
        r"train/digit 0/.* delete it to have it run anew"
    )
    with pytest.raises(InputError, match=said):
        compare(given, request)
    assert not list(request.output.glob("comparison.*")), "nothing was written"

    shutil.rmtree(request.output / "runs")
    compare(given, request)
    shutil.rmtree(kept)
    shutil.copytree(tmp_path / "mine", kept)
    with pytest.raises(InputError, match="knn-pico-s0 is of other images than"):
        compare(given, request)


def test_a_fold_of_other_images_is_refused(tmp_path: Path) -> None:
    data = write_digit_folder(tmp_path / "tiny", classes=2, per_class=4)
    request = Request(tmp_path / "out", METHODS, ("pico",), seeds=1)
    given = {**GIVEN, "data.path": str(data), "data.folds": 2}
    compare(given, request)
    one, other = sorted(data.glob("*/*.png"))[:2]
    one.write_bytes(other.read_bytes())
    for file in request.output.glob("comparison.*"):
        file.unlink()
    with pytest.raises(InputError, match="the same names and other contents or labels"):
        compare(given, request)


def test_two_methods_of_one_seed_must_have_learned_from_the_same_images(tmp_path: Path) -> None:
    found = []
    for method, seed, fingerprint in (
        ("knn", 0, "a"), ("lacvit", 0, "a"), ("knn", 1, "b"), ("lacvit", 1, "b"),
    ):  # fmt: skip
        run = planned(tmp_path, method, seed)
        write_run(run.folder, np.ones(6, dtype=bool))
        write_json(run.folder / "data.json",
                   read_json(run.folder / "data.json") | {"fingerprint": fingerprint})  # fmt: skip
        found.append(run)
    answers = [read_answers(run) for run in found]
    assert correct_by_seed(answers, ("knn", "lacvit"))[0] == [0, 1], "seeds may draw other shots"
    path = found[3].folder / "data.json"
    write_json(path, read_json(path) | {"fingerprint": "c"})
    with pytest.raises(InputError, match=r"knn-s1 and .*lacvit-s1 do not compare: they learned"):
        correct_by_seed([*answers[:3], read_answers(found[3])], ("knn", "lacvit"))


def test_test_images_that_train_under_another_name_are_told_loudly(tmp_path: Path) -> None:
    data = write_split_folder(tmp_path / "digits", {"train": 4, "val": 3, "test": 2})
    request = Request(tmp_path / "out", METHODS, ("pico",), seeds=1)
    given = {**GIVEN, "data.path": str(data)}
    progress = Silence()
    assert find_copies(given, request, Shared(), progress) is None
    tested = sorted((data / "test" / "digit 0").iterdir())
    for number, path in enumerate(tested):
        (data / "train" / "digit 0" / f"again {number}.png").write_bytes(path.read_bytes())
    words = (
        f"2 of 6 test images train or validate too, under another name "
        f"(test/digit 0/{tested[0].name} is train/digit 0/again 0.png, "
    )
    assert any(line.startswith(f"WARNING: {words}") for line in plan(given, request, progress))
    figures = compare(given, request, progress).figures
    assert (figures["copies"]["images"], figures["copies"]["of"]) == (2, 6)
    page = (request.output / "comparison.html").read_text(encoding="utf-8")
    assert f"Test images were seen in training.</strong> {words}" in page
    assert "Every method has seen them: accuracies may be up to 33 points too high" in page
    strict = Request(tmp_path / "strict", METHODS, ("pico",), seeds=1)
    with pytest.raises(InputError, match=r"2 of 6 test images .* data\.strict refuses any"):
        compare({**given, "data.strict": True}, strict)


def test_folds_know_every_copy(tmp_path: Path) -> None:
    data = write_digit_folder(tmp_path / "tiny", classes=2, per_class=4)
    one = sorted((data / "digit 0").iterdir())[0]
    (data / "digit 0" / "zz.png").write_bytes(one.read_bytes())
    request = Request(tmp_path / "out", METHODS, ("pico",), folds=2)
    found = find_copies({**GIVEN, "data.path": str(data)}, request, Shared(), Silence())
    assert found is not None
    assert (found["images"], found["of"]) == (1, 9)
    assert "1 of 9 images are copies of others under another name" in found["words"]
