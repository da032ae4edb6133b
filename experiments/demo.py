"""The demo's table, as lines of a CSV, and what its batch is worth.

The runs of `lacvit demo` on its own digits and seeds, and the same with a batch of 128.

Command:  python experiments/demo.py --output runs/demo
Hardware: 2 cores, no GPU.
Time:     4 minutes.
Result:   experiments/results/demo.csv, and the table of docs/results.md (tables.py).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from jobs import Job, collect, run_all

from lacvit.cli.demo import METHODS, SEEDS, SETTINGS, write_digits

RESULT = Path(__file__).parent / "results" / "demo.csv"
BATCHES = (32, 128)


def jobs(output: Path) -> Iterator[Job]:
    for seed in range(SEEDS):
        for batch in BATCHES:
            for method in METHODS:
                settings: dict[str, object] = {
                    "method": method,
                    "data.path": str(output / f"digits-s{seed}"),
                    "backbone.spec": "pico",
                }
                if method != "linear-probe":
                    sizes = dict.fromkeys(
                        ("contrastive.batch_size", "cross_entropy.batch_size"), batch
                    )
                    settings |= {**SETTINGS, **sizes}
                elif batch != BATCHES[0]:
                    continue  # it has no batch
                yield Job({"batch": str(batch), "method": method}, seed, settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    output = parser.parse_args().output.resolve()
    for seed in range(SEEDS):
        if not (output / f"digits-s{seed}").exists():
            write_digits(output / f"digits-s{seed}", seed)
    planned = list(jobs(output))
    run_all(planned, output, "1/1", RESULT)
    print(f"{len(collect(planned, output, RESULT, 'test'))} of {len(planned)} runs")


if __name__ == "__main__":
    main()
