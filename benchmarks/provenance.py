"""Figures with where they came from: device, load, torch and commit beside every one."""

from __future__ import annotations

import argparse
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
    """The checkout's commit, marked where code differs from it."""
    describe = ["git", "describe", "--always", "--exclude=*"]
    differ = ["git", "diff", "--quiet", "HEAD", "--", ":/src", ":/benchmarks/*.py", ":/tests"]
    try:
        found = subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
        dirty = subprocess.run(differ).returncode != 0
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{found}-dirty" if dirty else found


def add_output(parser: argparse.ArgumentParser, results: Path) -> None:
    """``--quick`` and ``--output``: a quick run is no measurement, and is kept only if asked."""
    parser.add_argument("--quick", action="store_true", help="a minute's version; writes nothing")
    parser.add_argument("--output", type=Path, help=f"CSV to write [default: {results.name}]")


def output_of(options: argparse.Namespace, results: Path) -> Path | None:
    """The CSV to write, if any."""
    return options.output or (None if options.quick else results)


def write_rows(path: Path | None, rows: Sequence[Row]) -> None:
    """Print every figure with its label, and keep them as CSV."""
    where = [device_name(), torch.get_num_threads(), torch.__version__, commit()]
    load = f"{os.getloadavg()[0]:.1f}"
    for row in rows:
        print(f"{row.name}: {row.value:.4g} {row.unit}")
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(
                ["figure", "unit", "value", "load", "device", "threads", "torch", "commit"]
            )
            table.writerows([r.name, r.unit, f"{r.value:.4g}", load, *where] for r in rows)
    print(f"{where[0]}, {where[1]} threads, load {load}, torch {where[2]}, commit {where[3]}")
