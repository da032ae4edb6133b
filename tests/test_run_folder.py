"""The run folder: writes that are whole or absent, and what an existing folder means."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lacvit import naming
from lacvit.config import make_settings
from lacvit.errors import InputError
from lacvit.requests import differences
from lacvit.run_folder import (
    RUN_ENTRIES,
    RunFolder,
    StageFolder,
    begin,
    inspect,
    read_json,
    read_object,
    write_bytes,
    write_json,
    write_text,
    write_toml,
)

REQUEST: dict[str, object] = {"seed": 0, "views.crop_scale": [0.35, 1.0]}


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(InputError) as refused:
        act()
    return str(refused.value)


def started(path: Path, *, finished: bool = False) -> RunFolder:
    """A folder whose plan is whole, as the pipeline leaves it before the first stage."""
    folder = begin(path, REQUEST)
    write_toml(folder.settings, {"seed": 0})
    write_json(folder.data, {})
    write_json(folder.environment, {})
    folder.update_status(finished=finished)
    return folder


# --- writing -----------------------------------------------------------------------------------


def test_files_are_replaced_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file.txt"
    write_text(path, "älter")
    write_text(path, "new")
    assert path.read_text(encoding="utf-8") == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "status.json"
    write_text(path, "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace")}[fails], full)
    assert refusal(lambda: write_bytes(path, b"new")) == (
        f"{path} cannot be written: No space left on device. "
        f"Allow it or free some space, or choose another folder with --output; the same command "
        f"goes on."
    )
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_while_writing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "status.json"
    write_text(path, "old")

    def killed(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    write_text(path, "newer")  # over the half-written one
    assert path.read_text() == "newer"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    path = tmp_path / "file" / "below.txt"
    text = refusal(lambda: write_text(path, "x"))
    assert text.startswith(f"{path} cannot be written: ")
    text = refusal(lambda: StageFolder(tmp_path / "file" / "head").append_metrics({"epoch": 0}))
    assert "metrics.jsonl cannot be written: " in text


def test_json_is_strict(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "a.json", {"accuracy": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_keys_without_a_value_are_left_out_of_toml(tmp_path: Path) -> None:
    write_toml(tmp_path / "a.toml", {"a": None, "b": {"c": None, "d": [1.0, 2.0]}})
    folder = RunFolder(tmp_path)
    (tmp_path / "a.toml").rename(folder.settings)
    assert folder.resolved_settings() == {"b": {"d": [1.0, 2.0]}}


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    advice = "Restore it, or make its folder anew with the command that wrote it."
    assert refusal(lambda: read_json(path)) == f"{path} is missing. {advice}"
    assert refusal(lambda: read_json(path, "Sing.")) == f"{path} is missing. Sing."
    for content in (b"{", b"\xff", b"[]"):
        path.write_bytes(content)
        said = refusal(lambda: read_object(path))
        assert said.startswith(f"{path} is damaged: ")
        assert said.endswith(f". {advice}")
    said = refusal(lambda: read_json(tmp_path))
    assert said == f"{tmp_path} cannot be read: Is a directory. {advice}"
    folder = RunFolder(tmp_path)
    assert "Start the run again with --overwrite." in refusal(folder.resolved_settings)
    folder.settings.write_text("a = ")
    assert "Start the run again with --overwrite." in refusal(folder.resolved_settings)


# --- a stage's metrics -------------------------------------------------------------------------


def epochs(folder: StageFolder) -> list[int]:
    return [json.loads(line)["epoch"] for line in folder.metrics.read_text().splitlines()]


def test_lines_from_an_epoch_on_are_dropped(tmp_path: Path) -> None:
    folder = StageFolder(tmp_path / "head")
    folder.drop_metrics_from(0)
    assert not folder.metrics.exists()
    for epoch in range(4):
        folder.append_metrics({"epoch": epoch, "loss": 0.1})
    folder.drop_metrics_from(2)
    assert epochs(folder) == [0, 1]
    folder.append_metrics({"epoch": 2, "loss": 0.1})
    assert epochs(folder) == [0, 1, 2]


@pytest.mark.parametrize("torn", ['{"epoch": 2, "lo', "{", "\0\0\0"])
def test_a_torn_line_is_dropped(torn: str, tmp_path: Path) -> None:
    folder = StageFolder(tmp_path)
    for epoch in range(2):
        folder.append_metrics({"epoch": epoch})
    with folder.metrics.open("a") as file:
        file.write(torn)
    folder.drop_metrics_from(2)
    assert epochs(folder) == [0, 1]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_figures_that_json_cannot_hold_are_left_out(value: float, tmp_path: Path) -> None:
    folder = StageFolder(tmp_path)
    folder.append_metrics({"epoch": 0, "loss": 0.5, "effective_rank": value, "chosen": True})
    line = json.loads(folder.metrics.read_text())
    assert line == {"epoch": 0, "loss": 0.5, "chosen": True}


# --- what a folder means -----------------------------------------------------------------------


def test_an_absent_or_empty_folder_is_new(tmp_path: Path) -> None:
    assert inspect(tmp_path / "run", REQUEST, overwrite=False) == "new"
    (tmp_path / ".hidden").write_text("x")
    assert inspect(tmp_path, REQUEST, overwrite=False) == "new"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("finished", "state"), [(False, "resumed"), (True, "finished")])
def test_the_same_request_goes_on(finished: bool, state: str, tmp_path: Path) -> None:
    started(tmp_path, finished=finished)
    assert inspect(tmp_path, REQUEST, overwrite=False) == state
    assert inspect(tmp_path, REQUEST, overwrite=True) == "new"


@pytest.mark.parametrize("written", [[], ["settings"], ["settings", "data"]])
def test_a_run_killed_before_its_plan_was_whole_is_new(written: list[str], tmp_path: Path) -> None:
    folder = begin(tmp_path, REQUEST)
    for name in written:
        write_text({"settings": folder.settings, "data": folder.data}[name], "")
    assert inspect(tmp_path, REQUEST, overwrite=False) == "new"


@pytest.mark.parametrize("cleared", range(len(RUN_ENTRIES) + 1))
def test_a_kill_while_clearing_is_mended_by_the_same_command(cleared: int, tmp_path: Path) -> None:
    started(tmp_path, finished=True)
    for name in RUN_ENTRIES[:cleared]:
        (tmp_path / name).unlink(missing_ok=True)
    state = inspect(tmp_path, REQUEST, overwrite=False)
    assert state == ("new" if cleared else "finished")


def test_another_run_is_refused_and_the_difference_named(tmp_path: Path) -> None:
    started(tmp_path)
    request = REQUEST | {"seed": 1, "data.shots": 5}
    assert refusal(lambda: inspect(tmp_path, request, overwrite=False)) == (
        f"{tmp_path} holds another run: data.shots is None there, 5 here; "
        f"seed is 0 there, 1 here. "
        f"Choose another folder with --output, or replace it with --overwrite."
    )
    assert inspect(tmp_path, request, overwrite=True) == "new"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["thesis.tex", "status.json", "model"])
def test_foreign_files_are_never_touched(name: str, overwrite: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_text('{"finished": true}')
    assert refusal(lambda: inspect(tmp_path, REQUEST, overwrite=overwrite)) == (
        f"{tmp_path} holds files of something else ({name}). Choose an empty folder with --output."
    )
    assert (tmp_path / name).exists()


def test_a_file_is_no_run_folder(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("x")
    text = refusal(lambda: inspect(tmp_path / "run", REQUEST, overwrite=False))
    assert text == f"{tmp_path / 'run'} is a file. Choose another folder with --output."


def test_begin_clears_the_run_and_leaves_the_rest(tmp_path: Path) -> None:
    folder = started(tmp_path, finished=True)
    write_text(folder.stage("head").metrics, "{}\n")
    (tmp_path / "notes.txt").write_text("mine")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept.txt").write_text("mine")
    folder.model.symlink_to(elsewhere)
    begin(tmp_path, REQUEST)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["elsewhere", "notes.txt", "status.json"]
    assert (elsewhere / "kept.txt").exists()
    assert folder.status() == {
        "stage": None,
        "epoch": 0,
        "finished": False,
        "notices": [],
        "request": {"seed": 0, "views.crop_scale": [0.35, 1.0]},
    }


def test_status_keeps_what_is_not_changed(tmp_path: Path) -> None:
    folder = begin(tmp_path, REQUEST)
    folder.update_status(epoch=3)
    assert folder.status()["epoch"] == 3
    assert folder.status()["request"]["seed"] == 0


@pytest.mark.parametrize("spelt", ["photos", "photos/", "./photos", "a/../photos"])
def test_a_place_may_be_spelt_in_any_way(
    spelt: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    earlier = {**REQUEST, "data.path": str(tmp_path / "photos"), "data.root": "."}
    assert not differences(earlier, {**REQUEST, "data.path": spelt, "data.root": str(tmp_path)})
    others = differences(earlier, {**REQUEST, "data.path": "others", "data.root": "."})
    assert others == f"data.path is '{tmp_path}/photos' there, 'others' here"
    assert (
        differences(earlier, {**REQUEST, "data.path": spelt}) == "data.root is '.' there, None here"
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [("data.shots", 10), ("data.hold_out_classes", ["2"]), ("features.crops", "whole")],
)
def test_a_setting_that_only_one_of_two_requests_has_tells_them_apart(
    key: str, value: object
) -> None:
    plain = naming.request_of(make_settings(recipe={"data.path": "photos"}))
    other = naming.request_of(make_settings(recipe={"data.path": "photos", key: value}))
    told = differences(other, plain, naming.DEFAULTS)
    assert told == f"{key} is {value!r} there, {naming.DEFAULTS[key]!r} here"
    assert differences(plain, other, naming.DEFAULTS)
    assert not differences(other, other, naming.DEFAULTS)


def test_a_setting_that_is_no_more_is_let_pass(tmp_path: Path) -> None:
    folder = started(tmp_path)
    folder.update_status(request={**REQUEST, "evaluation.knn_k": 20})
    with pytest.raises(InputError, match=r"evaluation\.knn_k is 20 there, None here"):
        inspect(tmp_path, REQUEST, overwrite=False)
    assert inspect(tmp_path, REQUEST, {"seed": 0}, overwrite=False) == "resumed"
