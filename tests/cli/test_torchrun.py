"""The command under its launchers: one run folder, and the model that one process trains."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file

from digit_folders import write_digit_folder
from lacvit import pipeline
from lacvit.cli.main import main
from lacvit.distributed import start
from lacvit.errors import InputError, PeerStopped, RunStopped
from lacvit.training import cached_gradients, contrastive

PATIENCE = 900  # seconds: a loaded machine takes long to import torch
# 24 training images in batches of 7: four steps an epoch, the last of 3 images (of which the fourth
# of four processes gets none), and 20 steps in all.
SETTINGS = [
    "--method", "lacvit", "--backbone", "pico", "--epochs", "5", "--batch-size", "7",
    "--device", "cpu",
    "--set", "contrastive.optimizer=sgd", "--set", "precision=fp32", "--set", "workers=1",
]  # fmt: skip


def command(data: Path, output: Path, *more: str) -> list[str]:
    return ["train", str(data), "--output", str(output), *SETTINGS, *more]


# `torchrun` and `accelerate launch`, of the same installation as python.
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
# --multi_gpu chooses the launcher of several processes; without GPUs they run on processors.
ACCELERATE = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "4"]
ACCELERATE += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]


def start_by(launcher: list[str], arguments: list[str], log: Path) -> subprocess.Popen[str]:
    """The command in several processes; what they say on stderr goes to the log."""
    with log.open("w") as file:
        return subprocess.Popen(
            [sys.executable, "-m", *launcher, "-m", "lacvit", *arguments],
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


def weights_of_encoder(folder: Path) -> dict[str, Any]:
    """Without the head: it is solved, from features that differ in the last digits."""
    weights = load_file(folder / "model/model.safetensors")
    return {name: w for name, w in weights.items() if not name.startswith("head.")}


def test_two_processes_stopped_and_resumed_by_four_train_the_model_of_one_into_one_folder(
    data: Path, alone: Path, tmp_path: Path
) -> None:
    """The run of one process was never stopped."""
    folder, log = tmp_path / "run", tmp_path / "log"
    arguments = command(data, folder, "--set", "contrastive.micro_batch=3")
    running = start_by(TORCHRUN, arguments, log)
    stop_after("contrastive 2/5", running, log)
    assert running.returncode != 0
    assert "stopped by SIGTERM. Every epoch that was done is kept; the same" in log.read_text()
    assert json.loads((folder / "status.json").read_text())["finished"] is False

    running = start_by(ACCELERATE, arguments, log)
    said, _ = running.communicate(timeout=PATIENCE)
    told = log.read_text()
    assert running.returncode == 0, told
    assert "Going on with the run in" in told
    assert re.search(r"contrastive: [2-4] of 5 epochs were done already", told), told
    assert said.count("Accuracy@1") == said.count("Report:") == 1
    assert told.count("Split: ") == 1
    assert "Warning" not in told, told

    one, two = weights_of_encoder(alone), weights_of_encoder(folder)
    assert one.keys() == two.keys()
    for name, tensor in one.items():
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


def test_chunks_are_what_the_setting_says_and_change_no_weight(
    data: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []

    def encode_in_chunks(encode: Any, views_N: Any, rows: int) -> Any:
        asked.append((len(views_N), rows))
        return cached_gradients.encode_in_chunks(encode, views_N, rows)

    monkeypatch.setattr(contrastive, "encode_in_chunks", encode_in_chunks)
    monkeypatch.setattr(pipeline, "write_report", lambda folder: folder / "report.html")
    assert exit_code(command(data, tmp_path / "run", "--set", "contrastive.micro_batch=2")) == 0
    assert (
        asked == [(14, 4), (14, 4), (14, 4), (6, 4)] * 5
    )  # two views of 7 and 3 images, 2 a chunk
    one, other = weights_of_encoder(alone), weights_of_encoder(tmp_path / "run")
    for name, tensor in one.items():
        np.testing.assert_allclose(other[name], tensor, rtol=0, atol=1e-5, err_msg=name)


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


def test_a_gpu_for_each_process_needs_to_be_told_whose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match="Start the processes by torchrun or accelerate launch"):
        start("auto")


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
