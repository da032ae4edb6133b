"""What makes the default's first stage win or lose beside cross-entropy with the same head.

Joint training shows both views of an image in one step, cross-entropy one: at equal image passes
it takes half the steps. Its batch and the share of the contrast, around the default's head (fitted
on validation images too, reading corners), from encoders pretrained with labels and without.

Judged as in search.py, on images held out of the training file; more of them, as the differences
are small: of CIFAR-10's 5,000, 3,000 judge, 500 train and 500 validate, drawn by the seed.

Command:  python experiments/joint_factors.py --data DATA --pretrained runs --output runs/joint
          (--shard 1/2 and 2/2 beside one another, each with OMP_NUM_THREADS=1; then --collect)
Hardware: 2 cores, no GPU.
Time:     about 40 seconds a run and core.
Result:   experiments/results/joint_factors.csv and docs/log.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from grid import CROPS, RATES, kind
from jobs import Job, backbones, collect, run_all, summarise
from search import BASE

RESULT = Path(__file__).parent / "results" / "joint_factors.csv"
SEEDS = (100, 101)  # never used by a table
CELL: dict[str, object] = {"data.test_fraction": 0.6}
# Arm -> what is tried -> what it changes.
TRIED: dict[str, dict[str, dict[str, object]]] = {
    "cross-entropy-refit": {
        "base": {},
        "batch 64": {"cross_entropy.batch_size": 64},
    },
    "joint-refit": {
        "base": {},
        "batch 64": {"joint.batch_size": 64},
        "batch 32": {"joint.batch_size": 32},
        "weight 0.25": {"joint.contrastive_weight": 0.25},
        "weight 0.25, batch 64": {"joint.contrastive_weight": 0.25, "joint.batch_size": 64},
        "weight 0.1, batch 64": {"joint.contrastive_weight": 0.1, "joint.batch_size": 64},
    },
}


def jobs(data: Path, specs: dict[str, str]) -> Iterator[Job]:
    for seed in SEEDS:
        for backbone, spec in specs.items():
            file = data / "cifar10" / "train.parquet"
            base = {**BASE, **CELL, "data.path": str(file), "backbone.spec": spec}
            for arm, values in TRIED.items():
                for value, change in values.items():
                    row = {"cell": "cifar10 at 50", "backbone": backbone, "arm": arm}
                    settings = {**base, "method": arm, **RATES[kind(backbone)], **CROPS}
                    yield Job({**row, "value": value}, seed, settings | change)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pretrained", type=Path, help="leave out to run pico alone")
    parser.add_argument("--output", type=Path, required=True)
    for name in ("backbone", "value"):
        parser.add_argument(f"--{name}", action="append", help="only its runs; may be repeated")
    parser.add_argument("--shard", default="1/1")
    parser.add_argument("--collect", action="store_true", help="only write the table")
    arguments = parser.parse_args()
    planned = list(jobs(arguments.data, backbones(arguments.pretrained)))
    chosen = [
        job
        for job in planned
        if all(
            job.row[name] in (getattr(arguments, name) or [job.row[name]])
            for name in ("backbone", "value")
        )
    ]
    if not arguments.collect:
        run_all(chosen, arguments.output, arguments.shard, RESULT)
    # "test" is what was held out of the training file.
    lines = collect(planned, arguments.output, RESULT, "test")
    print(f"{len(lines)} of {len(planned)} runs")
    print(summarise(lines, ("cell", "backbone", "arm", "value"), "test_accuracy"))


if __name__ == "__main__":
    main()
