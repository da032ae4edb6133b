"""What the runs of grid.py leave behind for good: their answers, differences and geometry.

The run folders are large and are not kept; a bit for each test image is, so that any two runs can
be paired later.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jobs import Job, read_lines
from safetensors.numpy import load_file

from lacvit.metrics.geometry import geometry
from lacvit.metrics.significance import holm, paired_difference

KEYS = ("cell", "backbone", "arm", "seed")
# What is set against everything else: the published method, the default's arms, and what every
# variant of the ablation is set against.
OURS = (
    "lacvit",
    "lacvit+all",
    "lacvit+all+crops",
    "cross-entropy-refit+all+crops",
    "supcon",
)
MARGIN = 0.01
# Arms whose embedding is measured: those that train an encoder of their own, and the untouched one.
ENCODERS = ("linear-probe", "cross-entropy", "cross-entropy-paper", "lacvit", "joint")


def write_answers(planned: Sequence[Job], output: Path, target: Path) -> None:
    """Add the finished runs: which test images each got right, in the order of their paths."""
    rows = {_key(row): row for row in read_answers(target)}
    for job in planned:
        file = output / job.name / "evaluation" / "predictions.parquet"
        if file.exists():
            table = pq.read_table(file, columns=["path", "label", "prediction"]).sort_by("path")
            labels, predictions = (np.array(table[name]) for name in ("label", "prediction"))
            right = np.packbits(labels == predictions).tobytes()
            row = {**job.row, "seed": job.seed, "images": len(labels), "right": right}
            rows[_key(row)] = row
    if rows:
        pq.write_table(pa.Table.from_pylist(list(rows.values())), target, compression="zstd")


def read_answers(target: Path) -> list[dict[str, Any]]:
    """Rows of cell, backbone, arm, seed, images, and ``right``: a bit an image."""
    return pq.read_table(target).to_pylist() if target.exists() else []


def write_pairs(answers: Path, target: Path) -> None:
    """Every difference between one of OURS and another arm, over the seeds that both have."""
    right: dict[tuple[str, str, str], dict[int, np.ndarray]] = {}
    for row in read_answers(answers):
        bits = np.unpackbits(np.frombuffer(row["right"], np.uint8), count=row["images"])
        arm = (row["cell"], row["backbone"], row["arm"])
        right.setdefault(arm, {})[row["seed"]] = bits.astype(bool)
    lines = []
    for (cell, backbone, ours), by_seed in right.items():
        for (other_cell, other_backbone, other), against in right.items():
            seeds = sorted(by_seed.keys() & against.keys())
            same = (cell, backbone) == (other_cell, other_backbone) and other != ours
            if ours not in OURS or not same or not seeds:
                continue
            found = paired_difference(
                *(np.stack([rows[seed] for seed in seeds]) for rows in (by_seed, against)),
                margin=MARGIN,
            )
            low, high = found.interval
            lines.append(
                {"cell": cell, "backbone": backbone, "method": ours, "against": other}
                | {"seeds": len(seeds), "images": found.images, "difference": found.difference}
                | {"low": low, "high": high, "detectable": found.detectable}
                | {"seeds_won": found.seeds_won, "p": found.p_value, "verdict": found.verdict}
            )
    # Over the whole file, in which two of OURS stand against one another twice.
    pairs = {_pair(line): line["p"] for line in lines}
    corrected = dict(zip(pairs, holm(list(pairs.values())), strict=True))
    _write([{**line, "p": f"{corrected[_pair(line)]:.3g}"} for line in lines], target)


def _pair(line: Mapping[str, Any]) -> tuple[str, ...]:
    return (line["cell"], line["backbone"], *sorted((line["method"], line["against"])))


def write_geometry(planned: Sequence[Job], output: Path, target: Path) -> None:
    """Add the finished runs' geometry on the test images; a line a run."""
    rows: dict[tuple[str, ...], Mapping[str, Any]] = {_key(row): row for row in read_lines(target)}
    for job in planned:
        file = output / job.name / "evaluation" / "features" / "test.safetensors"
        names = {**job.row, "seed": str(job.seed)}
        if not file.exists() or _key(names) in rows or job.row["arm"] not in ENCODERS:
            continue
        features = load_file(file)
        untouched = features.pop("untouched")
        table = pq.read_table(file.parent.parent / "predictions.parquet", columns=["label"])
        labels = np.array(table["label"])
        last = next(iter(features.values()), untouched)
        found = geometry(last, labels, reference_ND=untouched)
        rows[_key(names)] = names | found
    _write(list(rows.values()), target)


def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[key]) for key in KEYS)


def _write(lines: Sequence[Mapping[str, Any]], target: Path) -> None:
    if not lines:
        return
    columns: Iterable[str] = dict.fromkeys(name for line in lines for name in line)
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        writer.writeheader()
        for line in lines:
            writer.writerow({k: f"{v:.6f}" if isinstance(v, float) else v for k, v in line.items()})
