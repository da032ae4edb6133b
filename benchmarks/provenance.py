"""Figures with where they came from: device, load, torch and commit beside every one."""

from __future__ import annotations

import csv
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Row:
    """One figure."""

    name: str
    unit: str
    value: float


def device_name() -> str:
    """The processor's name as Linux tells it, else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def commit() -> str:
    """The checkout's commit, marked where files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Print every figure with its label, and keep them as CSV."""
    where = [device_name(), torch.get_num_threads(), torch.__version__, commit()]
    load = f"{os.getloadavg()[0]:.1f}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["figure", "unit", "value", "load", "device", "threads", "torch", "commit"])
        for row in rows:
            print(f"{row.name}: {row.value:.4g} {row.unit}")
            table.writerow([row.name, row.unit, f"{row.value:.4g}", load, *where])
    print(f"{where[0]}, {where[1]} threads, load {load}, torch {where[2]}, commit {where[3]}")
