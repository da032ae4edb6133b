"""A real process, really stopped: SIGTERM and SIGKILL in the middle of training."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from digit_folders import write_digit_folder

PATIENCE = 180  # seconds: a loaded machine takes long to import torch


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
