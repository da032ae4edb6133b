"""The table of docs/results.md: four arms at equal image passes, on full test sets.

Command:  python experiments/table.py --data DATA --pico-mae runs/pico-mae/pico-mae.pth \\
              --output runs/table --shard 1/2
          (and 2/2 beside it, each with OMP_NUM_THREADS=1; then --collect)
Hardware: 2 cores, no GPU.
Result:   experiments/results/table.csv, a line a run; table-pairs.csv, a line a difference between
          lacvit and another arm, paired by image and seed; docs/results.md.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from jobs import Job, add_pico_mae, backbones, collect, run_all, summarise

SEEDS = (0, 1, 2)
ARMS = ("linear-probe", "cross-entropy-paper", "cross-entropy", "lacvit")
# Cell -> folder below DATA, and settings. The search found nothing between 12 and 50 epochs.
CELLS: dict[str, tuple[str, dict[str, object]]] = {
    "cifar10 at 10": ("cifar10", {"data.shots": 10, "contrastive.epochs": 60}),
    "cifar10 at 50": ("cifar10", {"data.shots": 50, "contrastive.epochs": 25}),
    "cifar100 at 10": ("cifar100", {"data.shots": 10, "contrastive.epochs": 25}),
    "flowers102": ("flowers102", {"contrastive.epochs": 25}),
}
LONG: dict[str, tuple[str, dict[str, object]]] = {
    "cifar10 at 500": ("cifar10", {"contrastive.epochs": 25}),
}


def jobs(data: Path, specs: dict[str, str], *, long: bool) -> Iterator[Job]:
    """Every run, the short ones first."""
    for seed in SEEDS[:1] if long else SEEDS:
        for cell, (folder, changes) in (LONG if long else CELLS).items():
            for backbone, spec in specs.items():
                for arm in ARMS:
                    row = {"cell": cell, "backbone": backbone, "arm": arm}
                    settings = {
                        "data.path": str(data / folder),
                        "backbone.spec": spec,
                        "method": arm,
                        **changes,
                    }
                    yield Job(row, seed, settings)


PAIR_COLUMNS = ("cell", "method", "against", "seeds", "images", "difference", "low", "high")


def write_pairs(planned: Sequence[Job], output: Path, target: Path) -> None:
    """The differences between lacvit and every other arm, from the answers in the run folders."""
    from lacvit.comparison.answers import read_answers
    from lacvit.comparison.judge import judge
    from lacvit.comparison.plan import Cell, PlannedRun, Request
    from lacvit.config import RunSettings

    runs = [
        PlannedRun(
            Cell(f"{job.row['cell']}, {job.row['backbone']}", None),
            job.row["arm"],
            job.seed,
            RunSettings(),
            output / job.name,
        )
        for job in planned
    ]
    answers = [(run, read_answers(run)) for run in runs]
    figures = judge(Request(output=output, methods=ARMS, seeds=len(SEEDS)), answers, "")
    with target.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*PAIR_COLUMNS, "seeds_won", "p_holm", "verdict"])
        for cell in figures["cells"]:
            for pair in cell["pairs"]:
                low, high = pair["interval"]
                row = {"cell": cell["name"], "low": low, "high": high} | pair
                shown = [row[name] for name in PAIR_COLUMNS]
                shown = [f"{x:.4f}" if isinstance(x, float) else x for x in shown]
                writer.writerow(
                    [*shown, pair["seeds_won"], f"{pair['p_holm']:.4f}", pair["verdict"]]
                )
    print("\n".join(cell["answer"] for cell in figures["cells"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    add_pico_mae(parser)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--shard", default="1/1")
    parser.add_argument("--long", action="store_true", help="CIFAR-10 at 500 a class, one seed")
    parser.add_argument("--collect", action="store_true", help="only write the table")
    arguments = parser.parse_args()
    planned = list(jobs(arguments.data, backbones(arguments), long=arguments.long))
    name = "table-500.csv" if arguments.long else "table.csv"
    target = Path(__file__).parent / "results" / name
    if not arguments.collect:
        run_all(planned, arguments.output, arguments.shard, target)
    lines = collect(planned, arguments.output, target, "test")
    print(f"{len(lines)} of {len(planned)} runs")
    print(summarise(lines, ("cell", "backbone", "arm"), "test_accuracy"))
    if not arguments.long:
        write_pairs(planned, arguments.output, target.with_name("table-pairs.csv"))


if __name__ == "__main__":
    main()
