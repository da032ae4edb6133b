"""Which arm should be the default from an encoder pretrained with labels: cells that chose none.

The grid's cells suggested a change (docs/log.md), so they cannot also judge it. These cells and
seeds were in no earlier table. Three first stages, each with the default's head (fitted on
validation images too, reading corners) and with nearest neighbours in its embedding; the untouched
encoder beside them says what training is worth.

The rule, written before the first run. Paired differences to ``joint-refit``, the default so far,
are averaged over the seeds of a cell, the cells of a data set, and the three data sets. The arm
with the highest mean is the default, ``joint-refit`` among them. Where the first two are within
0.3 points, the better embedding decides: Accuracy@1 of nearest neighbours, averaged the same way.

Command:  python experiments/default_arm.py --data DATA --output runs/default-arm
          (--seeds 10,11 beside --seeds 12,13,14, each with OMP_NUM_THREADS=1; then --collect)
Hardware: 2 cores, no GPU.
Time:     20 to 100 seconds a run and core.
Result:   experiments/results/default_arm.csv, a line a run; the differences are printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from grid import CROPS, RATES
from jobs import Job, collect, run_all
from sklearn.datasets import load_digits
from tables import over_joint

from lacvit.data.decoding import encode_png

RESULT = Path(__file__).parent / "results" / "default_arm.csv"
SEEDS = (10, 11, 12, 13, 14)
# Data set -> cell -> settings. Epochs are what the default has for so many images (regime.py).
CELLS: dict[str, dict[str, dict[str, object]]] = {
    "digits": {
        "digits at 3": {"data.shots": 3, "contrastive.epochs": 60},
        "digits at 20": {"data.shots": 20, "contrastive.epochs": 30},
    },
    "flowers102": {
        "flowers102 at 2": {"data.shots": 2, "contrastive.epochs": 30},
        "flowers102 at 5": {"data.shots": 5, "contrastive.epochs": 25},
    },
    "cifar100": {"cifar100 at 5": {"data.shots": 5, "contrastive.epochs": 25}},
}
STAGES = ("cross-entropy", "lacvit", "joint")
# Reader -> the head that reads what a stage trained.
READERS: dict[str, dict[str, object]] = {
    "head": {"method": "linear-probe", **CROPS},
    "neighbours": {"method": "knn"},
}
UNTOUCHED = "linear-probe"


def jobs(data: Path, digits: Path, output: Path) -> Iterator[Job]:
    for seed in SEEDS:
        for name, cells in CELLS.items():
            folder = digits if name == "digits" else data / name
            for cell, settings in cells.items():
                base = {"data.path": str(folder), **settings}
                encoders = {UNTOUCHED: "pico"}
                for stage in STAGES:
                    row = {"cell": cell, "stage": stage, "reader": "own"}
                    rates = RATES["labels"]
                    yield Job(row, seed, {**base, "method": stage, **rates})
                    encoders[stage] = f"run:{output / Job(row, seed, {}).name}"
                for stage, spec in encoders.items():
                    for reader, head in READERS.items():
                        row = {"cell": cell, "stage": stage, "reader": reader}
                        yield Job(row, seed, {**base, "backbone.spec": spec, **head})


def write_digits(folder: Path) -> None:
    """scikit-learn's digits as a train and a test folder, every second image of a class each."""
    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    for digit in range(10):
        for place, index in enumerate(np.flatnonzero(digits.target == digit)):
            file = folder / ("train", "test")[place % 2] / str(digit) / f"{index:04d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode_png(images[index]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    for name in ("seeds", "cells"):
        parser.add_argument(f"--{name}", help="only these, separated by commas")
    parser.add_argument("--collect", action="store_true", help="only write the table")
    arguments = parser.parse_args()
    output = arguments.output.resolve()
    digits = output / "digits"
    planned = list(jobs(arguments.data, digits, output))
    if not arguments.collect:
        if not digits.exists():
            write_digits(digits)
        seeds, cells = (
            getattr(arguments, name).split(",") if getattr(arguments, name) else None
            for name in ("seeds", "cells")
        )
        chosen = [
            job
            for job in planned
            if (seeds is None or str(job.seed) in seeds)
            and (cells is None or job.row["cell"] in cells)
        ]
        run_all(chosen, output, "1/1", RESULT)
    lines = collect(planned, output, RESULT, "test")
    print(f"{len(lines)} of {len(planned)} runs")
    for reader in READERS:
        print(over_joint(lines, reader), end="\n\n")


if __name__ == "__main__":
    main()
