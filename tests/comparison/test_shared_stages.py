"""Runs that begin alike train their encoder once, to the same weights as each would alone."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from digit_folders import write_split_folder
from lacvit import pipeline
from lacvit.comparison import Request, compare
from lacvit.comparison.outlook import look_ahead
from lacvit.comparison.plan import plan_runs
from lacvit.comparison.shared_stages import begin_alike, drop_checkpoints
from lacvit.run_folder import RunFolder, write_json
from lacvit.shared import Shared
from lacvit.training import loop
from lacvit.training.logs import Silence

METHODS = ("cross-entropy", "cross-entropy-refit", "joint-refit", "joint")
GIVEN = {"contrastive.epochs": 1, "precision": "fp32", "workers": 1}


def planned(folder: Path, *methods: str, seeds: int = 1, **given: object):
    data = {"data.path": "photos", **given}
    return plan_runs(data, Request(folder, methods, ("pico",), seeds=seeds))


def test_an_encoder_is_trained_once_and_comes_out_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_split_folder(tmp_path / "digits", {"train": 4, "val": 3, "test": 5})
    given = {**GIVEN, "data.path": str(data), "head.fit_on": "all"}
    real, trained = loop._run_epoch, []

    def counted(stage, *rest):
        trained.append(stage.name)
        return real(stage, *rest)

    monkeypatch.setattr(loop, "_run_epoch", counted)
    request = Request(tmp_path / "out", METHODS, ("pico",), seeds=1)
    figures = compare(given, request).figures
    assert trained == ["cross_entropy", "cross_entropy", "joint"]  # two epochs of one view, one
    runs = plan_runs(given, request)
    for first, second in ((0, 1), (2, 3)):
        folder = RunFolder(runs[second].folder)
        assert folder.status()["taken_over"]["run"] == runs[first].folder.name
        alone = tmp_path / "alone" / runs[second].method
        settings = runs[second].settings
        pipeline.train(settings, pipeline.Request(output=alone, report=False))
        kept, expected = (
            load_file(path / "model" / "model.safetensors") for path in (folder.path, alone)
        )
        assert all(kept[name].equal(expected[name]) for name in expected | kept)
        assert RunFolder(alone).stage(folder.status()["taken_over"]["stage"]).metrics.exists()
    rows = {row["method"]: row for row in figures["cells"][0]["methods"]}
    assert rows["cross-entropy-refit"]["seconds"] > rows["cross-entropy"]["seconds"]
    assert not list(request.output.rglob("checkpoints"))


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("cross-entropy", "cross-entropy-refit", True),
        ("joint-refit", "joint", True),
        ("cross-entropy", "cross-entropy-paper", False),
        ("lacvit", "lacvit-finetune", False),
        ("lacvit", "simclr", False),
        ("knn", "linear-probe", False),
    ],
)
def test_which_arms_begin_alike(one: str, other: str, alike: bool, tmp_path: Path) -> None:
    runs = planned(tmp_path, one, other, seeds=2)
    assert begin_alike(runs[0], runs[1]) is begin_alike(runs[1], runs[0]) is alike
    assert not begin_alike(runs[0], runs[0])
    assert not begin_alike(runs[0], runs[3])  # of another seed


def test_the_last_head_is_no_part_of_the_beginning(tmp_path: Path) -> None:
    given = {"head.fit_on": "all", "features.crops": "corners"}
    assert begin_alike(*planned(tmp_path, "cross-entropy", "cross-entropy-refit", **given))
    tried = {(planned(tmp_path, "cross-entropy", "joint")[0].cell, "cross-entropy"): {
        "cross_entropy.lr": 0.1}}  # fmt: skip
    request = Request(tmp_path, ("cross-entropy", "cross-entropy-refit"), ("pico",), seeds=1)
    assert not begin_alike(*plan_runs({"data.path": "photos"}, request, tried))


def test_checkpoints_stay_until_every_run_that_begins_there_has_ended(tmp_path: Path) -> None:
    first, second = runs = planned(tmp_path, "cross-entropy", "cross-entropy-refit")
    place = RunFolder(first.folder).stage("cross_entropy").checkpoints / "epoch-00001"
    place.mkdir(parents=True)
    write_json(RunFolder(first.folder).status_file, {"finished": True})
    drop_checkpoints(first, runs)
    assert place.exists()
    RunFolder(second.folder).path.mkdir(parents=True)
    write_json(RunFolder(second.folder).status_file, {"diverged": "It diverged."})
    drop_checkpoints(second, runs)
    assert not place.exists()


def test_a_plan_counts_the_training_once(tmp_path: Path) -> None:
    data = write_split_folder(tmp_path / "digits", {"train": 3, "val": 2, "test": 3})
    given = {"precision": "fp32", "data.path": str(data), "contrastive.epochs": 5000}
    request = Request(tmp_path / "out", METHODS[:2], ("pico",), seeds=2)
    runs = plan_runs(given, request)
    seconds = look_ahead(runs, Shared(), Silence()).seconds
    cell = runs[0].cell
    assert seconds[cell, "cross-entropy-refit"] < seconds[cell, "cross-entropy"] / 2
