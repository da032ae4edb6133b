"""The command under torchrun: one run folder, and the model that one process trains."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from digit_folders import write_digit_folder
from lacvit import pipeline
from lacvit.cli.main import main
from lacvit.distributed import start
from lacvit.errors import InputError, PeerStopped, RunStopped

PATIENCE = 900  # seconds: a loaded machine takes long to import torch
# 23 training images in batches of 8: three steps an epoch, the last of 7, and 21 steps in all.
SETTINGS = [
    "--method", "lacvit", "--backbone", "pico", "--epochs", "7", "--batch-size", "8",
    "--device", "cpu",
    "--set", "contrastive.optimizer=sgd", "--set", "precision=fp32", "--set", "workers=1",
]  # fmt: skip


def command(data: Path, output: Path, *more: str) -> list[str]:
    return ["train", str(data), "--output", str(output), *SETTINGS, *more]


def start_torchrun(arguments: list[str], log: Path, *, processes: int = 2) -> subprocess.Popen[str]:
    """The command in several processes; what they say on stderr goes to the log."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python"]
    launcher += ["--nproc-per-node", str(processes), sys.executable]
    with log.open("w") as file:
        return subprocess.Popen(
            [*launcher, "-m", "lacvit", *arguments],
            stdout=subprocess.PIPE, stderr=file, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip


def stop_after(told: str, running: subprocess.Popen[str], log: Path) -> None:
    """SIGTERM to the launcher, which passes it on, as soon as the log tells of it."""
    until = time.monotonic() + PATIENCE
    while told not in log.read_text():
        assert running.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.02)
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=PATIENCE)


def exit_code(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return int(left.value.code or 0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digit_folder(tmp_path_factory.mktemp("data") / "digits")


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "write_report", lambda folder: folder / "report.html")
        assert exit_code(command(data, folder)) == 0
    return folder


def lines(folder: Path) -> list[dict[str, float]]:
    text = (folder / "contrastive/metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_two_processes_stopped_and_resumed_train_the_model_of_one_into_one_folder(
    data: Path, alone: Path, tmp_path: Path
) -> None:
    """The run of one process was never stopped."""
    folder, log = tmp_path / "run", tmp_path / "log"
    arguments = command(data, folder, "--set", "contrastive.micro_batch=3")
    running = start_torchrun(arguments, log)
    stop_after("contrastive 1/7", running, log)
    assert running.returncode != 0
    assert "stopped by SIGTERM. Every epoch that was done is kept; the same" in log.read_text()
    assert json.loads((folder / "status.json").read_text())["finished"] is False

    running = start_torchrun(arguments, log)
    said, _ = running.communicate(timeout=PATIENCE)
    told = log.read_text()
    assert running.returncode == 0, told
    assert "Going on with the run in" in told
    assert re.search(r"contrastive: [1-6] of 7 epochs were done already", told), told
    assert said.count("Accuracy@1") == said.count("Report:") == 1
    assert told.count("Split: ") == 1
    assert "Warning" not in told, told

    one, two = (load_file(place / "model/model.safetensors") for place in (alone, folder))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        if not name.startswith("head."):  # solved, from features that differ in the last digits
            np.testing.assert_allclose(two[name], tensor, rtol=0, atol=1e-5, err_msg=name)
    for line, other in zip(lines(folder), lines(alone), strict=True):
        assert line.keys() == other.keys()
        assert line["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert line["knn_accuracy"] == other["knn_accuracy"]
    first, second = (
        pq.read_table(place / "evaluation/predictions.parquet").to_pydict()
        for place in (alone, folder)
    )
    assert first["path"] == second["path"]
    np.testing.assert_allclose(second["probabilities"], first["probabilities"], atol=1e-3)
    assert json.loads((folder / "status.json").read_text())["finished"] is True
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        [*(p.name for p in alone.iterdir()), "report.html"]
    )
    assert exit_code(arguments) == 0  # one process finds the run of two finished


@pytest.mark.parametrize(
    ("device", "text"),
    [
        ("cuda:1", "--device cuda:1 is one device, and there are 2 processes. Use --device cpu"),
        ("mps", "--device mps is one device, and there are 2 processes. Use --device cpu"),
    ],
)
def test_processes_cannot_share_a_device(
    device: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError) as refused:
        start(device)
    assert str(refused.value).startswith(text)


@pytest.mark.parametrize("world_size", [None, "1"])
def test_a_process_alone_keeps_its_device(
    world_size: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if world_size is not None:
        monkeypatch.setenv("WORLD_SIZE", world_size)
    assert start("cuda:1") == (None, "cuda:1")


@pytest.mark.parametrize("name", ["demo", "compare"])
def test_commands_that_make_many_runs_are_one_process(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert exit_code([name, "photos"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"lacvit: lacvit {name} makes many runs and is one process; of the")
    assert said.endswith("Give it without torchrun or accelerate launch.\n")


@pytest.mark.parametrize(
    ("rank", "code", "expected"),
    [
        ("0", 2, "lacvit: no images\n"),
        ("1", 2, "lacvit (process 1): no images\n"),
        ("0", 130, "lacvit: no images\n"),
        ("1", 130, ""),  # stopped together: the first says so
    ],
)
def test_who_says_why_a_run_ended(
    rank: str,
    code: int,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RANK", rank)

    def fail(_: object) -> None:
        raise RunStopped("no images") if code == 130 else InputError("no images")

    monkeypatch.setattr("lacvit.cli.main.build_app", fail)
    assert exit_code(["train"]) == code
    assert capsys.readouterr().err == expected


def test_what_another_process_said_is_not_said_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> None:
        raise PeerStopped("Process 0 of this run stopped: no images")

    monkeypatch.setattr("lacvit.cli.main.build_app", fail)
    assert exit_code(["train"]) == 1
    assert capsys.readouterr().err == ""
