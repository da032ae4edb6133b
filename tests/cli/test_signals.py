"""Runs stopped: Ctrl-C before training, SIGTERM and SIGKILL in the middle of it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from digit_folders import write_digit_folder
from lacvit import __main__ as program
from lacvit.cli.main import main
from lacvit.cli.signals import stop_on_ctrl_c, stop_on_signals
from lacvit.errors import RunStopped

PATIENCE = 180  # seconds: a loaded machine takes long to import torch


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard() -> Iterator[None]:
    """A shell's ``&`` has Ctrl-C ignored, and so it may be here."""
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, earlier)


def command(data: Path, output: Path) -> list[str]:
    settings = ["--set", "precision=fp32", "--set", "contrastive.batch_size=8"]
    flags = ["--backbone", "pico", "--epochs", "6", "--json-logs", "--output", str(output)]
    return [sys.executable, "-m", "lacvit", "train", str(data), *flags, *settings]


def start(argv: list[str], log: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with log.open("wb") as file:
        return subprocess.Popen(argv, stderr=file, stdout=subprocess.DEVNULL, env=environment)


def wait_for_epoch(log: Path, epoch: int) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if f'"epoch", "stage": "contrastive", "epoch": {epoch}' in log.read_text():
            return
        time.sleep(0.02)
    raise TimeoutError(log.read_text())


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_stopped_twice_a_run_ends_in_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    data = write_digit_folder(tmp_path / "digits")
    whole = start(command(data, tmp_path / "whole"), tmp_path / "whole.log")
    assert whole.wait(PATIENCE) == 0, (tmp_path / "whole.log").read_text()

    argv, log = command(data, tmp_path / "stopped"), tmp_path / "stopped.log"
    process = start(argv, log)
    wait_for_epoch(log, 1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 130, log.read_text()
    assert "the same command goes on" in log.read_text()

    process = start(argv, log)
    wait_for_epoch(log, 3)
    process.kill()
    process.wait(PATIENCE)

    assert start(argv, log).wait(PATIENCE) == 0, log.read_text()
    assert "Going on with the run" in log.read_text()
    first, second = (
        load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "stopped")
    )
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        np.testing.assert_array_equal(tensor, second[name], err_msg=name)
    lines = (tmp_path / "stopped/contrastive/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(6))


def ctrl_c(*_: object, **__: object) -> None:
    signal.raise_signal(signal.SIGINT)


def lost_ctrl_c(*_: object) -> None:
    with contextlib.suppress(BaseException):
        ctrl_c()
    raise RecursionError("maximum recursion depth exceeded")


KEPT = "stopped by SIGINT. Every epoch that was done is kept; the same command goes on from there."


@pytest.mark.parametrize(
    ("command", "where", "what", "told"),
    [
        ("train", "lacvit.cli.main.build_app", ctrl_c, "interrupted"),
        ("train", "lacvit.cli.train.make_settings", ctrl_c, "interrupted"),
        ("train", "lacvit.shared.read_images", ctrl_c, KEPT),
        ("predict", "lacvit.cli.predict.image_files", ctrl_c, "interrupted"),
        ("predict", "lacvit.cli.predict.image_files", lost_ctrl_c, "interrupted"),
    ],
)
def test_ctrl_c_before_training_is_told_in_a_line(
    command: str,
    where: str,
    what: Callable[..., None],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(where, what)
    with pytest.raises(SystemExit) as left:
        main([command, "photos", *(["photo.png"] if command == "predict" else [])])
    assert left.value.code == 130
    assert capsys.readouterr() == ("", f"lacvit: {told}\n")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_that_an_import_swallows_stops_the_run() -> None:
    with stop_on_ctrl_c():
        with contextlib.suppress(RunStopped):
            ctrl_c()
        with pytest.raises(RunStopped, match="interrupted"), stop_on_signals():
            pass
    with stop_on_ctrl_c(), stop_on_signals():
        pass


def test_ctrl_c_while_the_commands_are_imported_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Importing:
        def __getattr__(self, name: str) -> None:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "lacvit.cli.main", Importing())
    with pytest.raises(SystemExit) as left:
        program.main()
    assert left.value.code == 130
    assert capsys.readouterr() == ("", "lacvit: interrupted\n")


def test_a_command_outside_the_main_thread_sets_no_handler(
    capsys: pytest.CaptureFixture[str],
) -> None:
    codes: list[object] = []

    def command() -> None:
        try:
            main(["settings", "--help"])
        except SystemExit as stopped:
            codes.append(stopped.code)

    thread = threading.Thread(target=command)
    thread.start()
    thread.join()
    assert codes == [0]
    assert "Usage" in capsys.readouterr().out


def test_an_interrupt_stops_one_run_and_not_the_next() -> None:
    with pytest.raises(RunStopped), stop_on_signals():
        signal.raise_signal(signal.SIGINT)
    with stop_on_signals():
        pass
