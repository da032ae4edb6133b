"""The grid of docs/results.md: every arm at equal image passes, on full test sets.

Command:  python experiments/grid.py --data DATA --pretrained runs --output runs/grid
          (--cells, --backbones, --arms and --seeds take parts of it; --shard 1/2 and 2/2 beside one
          another, each with OMP_NUM_THREADS=1; --ablation for the other table; --collect at last.
          Where a command may take ten minutes, --minutes 7: the same command goes on until it
          has nothing to do. A shard has whole cells of one encoder and seed.)
Hardware: 2 cores; a CUDA GPU is used where there is one (never tried).
Time:     20 to 80 seconds a run and core at CIFAR-10, 200 at CIFAR-100 and Flowers-102.
Result:   experiments/results/grid.csv, a line a run; grid-answers.parquet, which test images each
          run got right; grid-pairs.csv, every difference, paired by image and seed;
          grid-geometry.csv, what each run made of the test images' embedding.

``--pretrained`` holds what pretrain_pico.py wrote: pico-mae/pico-mae.pth and so on; what is not
there is left out. Rates are those that search.py found best at CIFAR-10, 50 a class, on seeds that
the grid does not use, or within 0.9 points of it: joint from pico is better at 5e-4, cross-entropy
and joint from pico-mae at 4e-3 (docs/log.md). The rate of lacvit-finetune's second stage was not
searched.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

from evidence import write_answers, write_geometry, write_pairs
from jobs import Job, arguments_of, backbones, collect, run_all, summarise

RESULTS = Path(__file__).parent / "results"
SEEDS = (0, 1, 2, 3, 4)
ARMS = (
    "linear-probe",
    "cross-entropy-paper",
    "cross-entropy",
    "lacvit",
    "joint",
    "lacvit-finetune",
)
ALL: dict[str, object] = {"head.fit_on": "all"}
CROPS: dict[str, object] = {**ALL, "features.crops": "corners"}
# Arm -> the arm whose encoder it takes as it is, and what else it sets: the same weights come out
# as from the arm itself, whose first stage is that arm's, and nothing is trained twice. "all":
# the exact head is fitted on validation images too, once they have chosen its strength; "crops":
# it reads features averaged over an image and its corners.
REFITS: dict[str, tuple[str, dict[str, object]]] = {
    "cross-entropy-refit": ("cross-entropy", {}),
    "joint-refit": ("joint", {}),
    "linear-probe+all": ("linear-probe", ALL),
    "cross-entropy-refit+all": ("cross-entropy", ALL),
    "lacvit+all": ("lacvit", ALL),
    "joint-refit+all": ("joint", ALL),
    "linear-probe+all+crops": ("linear-probe", CROPS),
    "cross-entropy-refit+all+crops": ("cross-entropy", CROPS),
    "lacvit+all+crops": ("lacvit", CROPS),
    "joint-refit+all+crops": ("joint", CROPS),
}
# Cell -> folder below DATA, and settings. The search found nothing between 12 and 50 epochs.
CELLS: dict[str, tuple[str, dict[str, object]]] = {
    "cifar10 at 50": ("cifar10", {"data.shots": 50, "contrastive.epochs": 25}),
    "cifar10 at 10": ("cifar10", {"data.shots": 10, "contrastive.epochs": 60}),
    "cifar100 at 10": ("cifar100", {"data.shots": 10, "contrastive.epochs": 25}),
    "flowers102": ("flowers102", {"contrastive.epochs": 25}),
    # Asked after the rest, from pico: does another arm win where there are few images?
    "cifar10 at 5": ("cifar10", {"data.shots": 5, "contrastive.epochs": 60}),
    "cifar10 at 20": ("cifar10", {"data.shots": 20, "contrastive.epochs": 30}),
    "cifar100 at 2": ("cifar100", {"data.shots": 2, "contrastive.epochs": 30}),
    "cifar10 at 100": ("cifar10", {"data.shots": 100, "contrastive.epochs": 25}),
    # All labelled images of the set, 500 a class; validation takes its share of them.
    "cifar10 at 500": ("cifar10", {"contrastive.epochs": 25}),
}
# Kind of pretraining -> peak rates (search.csv). The default, 1e-3, where nothing is said.
RATES: dict[str, dict[str, object]] = {
    "labels": {"cross_entropy.lr": 5e-4},
    "none": {"cross_entropy.lr": 2e-3, "contrastive.lr": 2e-3, "joint.lr": 2e-3},
}
ABLATED = "cifar10 at 50"
# Variant of lacvit -> what it changes.
VARIANTS: dict[str, dict[str, object]] = {
    "supcon": {},
    "simclr": {"method": "simclr"},
    "npair": {"method": "npair"},
    "temperature 0.05": {"contrastive.temperature": 0.05},
    "temperature 0.2": {"contrastive.temperature": 0.2},
    "batch 32": {"contrastive.batch_size": 32},
    "batch 256": {"contrastive.batch_size": 256},
}
# The paper's own second stage, on the encoder that "supcon" trained.
PUBLISHED_HEAD: dict[str, object] = {
    "head.solver": "sgd",
    "head.features": "live",
    "head.epochs": 100,
    "head.lr": 0.1,
}


def kind(backbone: str) -> str:
    """What the encoder was pretrained with."""
    return "labels" if backbone == "pico" else "none"


def grid(data: Path, specs: Mapping[str, str], output: Path) -> Iterator[Job]:
    """Every run, seed after seed, those whose encoder another one takes first."""
    for seed in SEEDS:
        for cell, (folder, changes) in CELLS.items():
            for backbone, spec in specs.items():
                row = {"cell": cell, "backbone": backbone}
                base = {"data.path": str(data / folder), **changes}
                group = f"{cell}, {backbone}, seed {seed}"
                for arm in ARMS:
                    rates = {} if arm == "cross-entropy-paper" else RATES[kind(backbone)]
                    settings = {**base, "method": arm, "backbone.spec": spec, **rates}
                    yield Job({**row, "arm": arm}, seed, settings, group)
                for arm, (first, head) in REFITS.items():
                    trained = f"run:{output / Job({**row, 'arm': first}, seed, {}).name}"
                    encoder = spec if first == "linear-probe" else trained
                    settings = {"method": "linear-probe", "backbone.spec": encoder, **head}
                    yield Job({**row, "arm": arm}, seed, {**base, **settings}, group)


def ablation(data: Path, specs: Mapping[str, str], output: Path) -> Iterator[Job]:
    """LaCViT with one thing changed at a time."""
    folder, changes = CELLS[ABLATED]
    for seed in SEEDS:
        for backbone, spec in specs.items():
            base = {"data.path": str(data / folder), **changes}
            ours = {**base, "method": "lacvit", "backbone.spec": spec, **RATES[kind(backbone)]}
            row = {"cell": f"{ABLATED}, ablation", "backbone": backbone}
            group = f"{backbone}, seed {seed}"
            for variant, change in VARIANTS.items():
                yield Job({**row, "arm": variant}, seed, {**ours, **change}, group)
            encoder = Job({**row, "arm": "supcon"}, seed, {}).name
            head = {"method": "linear-probe", "backbone.spec": f"run:{output / encoder}"}
            settings = {**base, **head, **PUBLISHED_HEAD}
            yield Job({**row, "arm": "published head"}, seed, settings, group)


def main() -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("--ablation", action="store_true", help="lacvit's parts, not the arms")
    for name in ("cells", "backbones", "arms", "seeds"):
        parser.add_argument(f"--{name}", help="only these, separated by commas")
    parser.add_argument("--minutes", type=float, help="begin no run after so many")
    arguments = parser.parse_args()
    make, name = (ablation, "ablation") if arguments.ablation else (grid, "grid")
    output = arguments.output.resolve()
    planned = list(make(arguments.data, backbones(arguments.pretrained), output))
    target = RESULTS / f"{name}.csv"
    if not arguments.collect:
        chosen = [job for job in planned if _chosen(job, arguments)]
        minutes = arguments.minutes
        run_all(chosen, output, arguments.shard, target, minutes=minutes, plan=planned)
        return
    lines = collect(planned, output, target, "test")
    print(f"{len(lines)} of {len(planned)} runs")
    print(summarise(lines, ("cell", "backbone", "arm"), "test_accuracy"))
    write_answers(planned, output, RESULTS / f"{name}-answers.parquet")
    write_pairs(RESULTS / f"{name}-answers.parquet", RESULTS / f"{name}-pairs.csv")
    write_geometry(planned, output, RESULTS / f"{name}-geometry.csv")


def _chosen(job: Job, arguments: argparse.Namespace) -> bool:
    row = {"cells": "cell", "backbones": "backbone", "arms": "arm"}
    wanted = {**{option: job.row[key] for option, key in row.items()}, "seeds": str(job.seed)}
    return all(
        getattr(arguments, option) is None or value in getattr(arguments, option).split(",")
        for option, value in wanted.items()
    )


if __name__ == "__main__":
    main()
