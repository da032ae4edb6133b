"""Runs that begin alike train their encoder once, to the same weights as each would alone."""

import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file

from digit_folders import write_split_folder
from lacvit import pipeline
from lacvit.comparison import Request, compare
from lacvit.comparison.outlook import PAGE_SECONDS, Outlook, remaining_seconds
from lacvit.comparison.plan import PlannedRun, kind_of, plan_runs
from lacvit.comparison.shared_stages import begin_alike, drop_checkpoints, trained_before
from lacvit.errors import InputError
from lacvit.run_folder import RunFolder, write_json
from lacvit.training import loop

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
        assert folder.status()["taken_over"]["seconds"] > 0
        assert f"was trained by {runs[first].folder.name}" in folder.status()["notices"][-1]
    rows = {row["method"]: row for row in figures["cells"][0]["methods"]}
    own = RunFolder(runs[1].folder).status()
    whole = own["seconds"] + own["taken_over"]["seconds"]
    assert rows["cross-entropy-refit"]["seconds"] == pytest.approx(whole)
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


def test_another_seed_other_settings_or_a_divided_budget_begin_otherwise(tmp_path: Path) -> None:
    runs = planned(tmp_path, "cross-entropy", "cross-entropy-refit", seeds=2)
    assert not begin_alike(runs[0], runs[3])
    # The same settings, but the second gives a share of its budget to a stage of its own.
    share = {"cross_entropy.share_of_passes": 0.2}
    assert not begin_alike(*planned(tmp_path, "lacvit", "lacvit-finetune", **share))
    given = {"head.fit_on": "all", "features.crops": "corners"}  # of the last head alone
    assert begin_alike(*planned(tmp_path, "cross-entropy", "cross-entropy-refit", **given))
    tried = {(runs[0].cell, "cross-entropy"): {"cross_entropy.lr": 0.1}}
    request = Request(tmp_path, ("cross-entropy", "cross-entropy-refit"), ("pico",), seeds=1)
    assert not begin_alike(*plan_runs({"data.path": "photos"}, request, tried))


def ended(run: PlannedRun, **status: object) -> Path:
    """A run that has ended, by hand, with the checkpoint that its training left."""
    place = RunFolder(run.folder).stage("cross_entropy").checkpoints / "epoch-00001"
    place.mkdir(parents=True, exist_ok=True)
    write_json(RunFolder(run.folder).status_file, status or {"finished": True})
    return place


def test_checkpoints_stay_until_every_run_that_begins_there_has_ended(tmp_path: Path) -> None:
    first, second = runs = planned(tmp_path, "cross-entropy", "cross-entropy-refit")
    place = ended(first)
    drop_checkpoints(first.folder.parent, runs)
    assert place.exists()
    assert trained_before(second, runs) == first.folder
    ended(second, diverged="It diverged.")
    drop_checkpoints(first.folder.parent, runs)
    assert not list(tmp_path.rglob("checkpoints"))


def test_checkpoints_that_no_plan_wants_any_longer_go(tmp_path: Path) -> None:
    place = ended(planned(tmp_path, "cross-entropy", "cross-entropy-refit")[0])
    going_on = RunFolder(tmp_path / "runs" / "unfinished").stage("joint").checkpoints
    going_on.mkdir(parents=True)
    write_json(going_on.parents[1] / "status.json", {"finished": False})
    runs = planned(tmp_path, "linear-probe", "cross-entropy")
    drop_checkpoints(tmp_path / "runs", runs)
    assert not place.exists()
    assert going_on.exists()


def test_what_follows_a_diverged_run_goes_on_from_its_last_epoch(tmp_path: Path) -> None:
    first, second = runs = planned(tmp_path, "cross-entropy", "cross-entropy-refit")
    ended(first, diverged="It diverged.")
    assert trained_before(second, runs) == first.folder


class Killed(BaseException):
    """Stands for any end of the process."""


def copy_and_end(source: Path, place: Path) -> None:
    shutil.copytree(source, place)
    raise Killed


def end_after_the_first(calls: list[str], device: str) -> dict[str, object]:
    calls.append(device)
    if len(calls) == 2:
        raise Killed
    return {}


@pytest.mark.parametrize("moment", ["copied", "in place"])
def test_a_kill_while_an_encoder_is_taken_over_costs_nothing(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_split_folder(tmp_path / "digits", {"train": 4, "val": 3, "test": 5})
    given = {**GIVEN, "data.path": str(data)}
    request = Request(tmp_path / "out", METHODS[:2], ("pico",), seeds=1)
    with monkeypatch.context() as patched:
        if moment == "copied":
            own = SimpleNamespace(copytree=copy_and_end, rmtree=shutil.rmtree, Error=shutil.Error)
            patched.setattr(pipeline, "shutil", own)
        else:  # environment.json is what is written next
            patched.setattr(pipeline, "environment", partial(end_after_the_first, []))
        with pytest.raises(Killed):
            compare(given, request)
    trained = []
    real_epoch = loop._run_epoch
    monkeypatch.setattr(
        loop, "_run_epoch", lambda stage, *rest: trained.append(1) or real_epoch(stage, *rest)
    )
    assert compare(given, request).figures["complete"]
    assert not trained
    second = RunFolder(plan_runs(given, request)[1].folder)
    assert second.status()["taken_over"]["run"] == "cross-entropy-pico-s0"
    assert not list(request.output.rglob(".*.tmp"))
    assert not list(request.output.rglob("checkpoints"))


def test_a_copy_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_split_folder(tmp_path / "digits", {"train": 4, "val": 3, "test": 5})
    request = Request(tmp_path / "out", METHODS[:2], ("pico",), seeds=1)

    def full(source, place):
        raise shutil.Error([(source, place, "[Errno 28] No space left on device")])

    own = SimpleNamespace(copytree=full, rmtree=shutil.rmtree, Error=shutil.Error)
    monkeypatch.setattr(pipeline, "shutil", own)
    with pytest.raises(InputError, match=r"cannot be copied to .*: \[Errno 28\] No space left on"):
        compare({**GIVEN, "data.path": str(data)}, request)


def test_trials_begin_alike_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_split_folder(tmp_path / "digits", {"train": 4, "val": 3, "test": 5})
    request = Request(tmp_path / "out", METHODS[:2], ("pico",), seeds=1, trials=2)
    trained = []
    real = loop._run_epoch
    monkeypatch.setattr(
        loop, "_run_epoch", lambda stage, *rest: trained.append(1) or real(stage, *rest)
    )
    figures = compare({**GIVEN, "data.path": str(data)}, request).figures
    assert figures["complete"]
    # Two epochs of one view: of two trials that both methods have, and of the runs by the winners.
    chosen = [one["chosen"] for one in figures["trials"]["tried"]]
    assert len(trained) == 2 * (2 + (1 if chosen[0] == chosen[1] else 2))
    assert not list(request.output.rglob("checkpoints"))


def test_a_plan_counts_the_training_once(tmp_path: Path) -> None:
    runs = planned(tmp_path, "cross-entropy", "cross-entropy-refit")
    kinds = [kind_of(run) for run in runs]
    outlook = Outlook({}, dict.fromkeys(kinds, 10.0), dict.fromkeys(kinds, 8.0))
    assert remaining_seconds(runs, outlook) == pytest.approx(10 + 2 + PAGE_SECONDS)
    place = ended(runs[0], finished=True, seconds=10.0)
    assert remaining_seconds(runs, outlook) == pytest.approx(2 + PAGE_SECONDS)
    shutil.rmtree(place)  # as of a comparison to which the second method comes later
    assert remaining_seconds(runs, outlook) == pytest.approx(10 + PAGE_SECONDS)
