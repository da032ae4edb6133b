"""What makes LaCViT win or lose, found without the test set.

One factor at a time around a base, on CIFAR-10 with 50 labelled images a class, equal image passes
for every arm. Only the training file is read: a fifth of it (1,000 images) is held out and
judges; 500 of the rest train and 500 validate, drawn by the seed.

Command:  python experiments/search.py --data DATA/cifar10/train.parquet \\
              --pretrained runs --output runs/search --shard 1/2
          (and 2/2 beside it, each with OMP_NUM_THREADS=1; then --collect)
Hardware: 2 cores, no GPU.
Time:     about a minute and a half a run and core; it says how many there are.
Result:   experiments/results/search.csv and the table in docs/log.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jobs import Job, arguments_of, backbones, collect, run_all, summarise

SEEDS = (100, 101)  # never used by a table
BASE: dict[str, object] = {"data.shots": 50, "contrastive.epochs": 25}
# LaCViT's factors stand around this peak rate. The first half of the search stood around 0.003125:
# its 15 lines (that base_lr, or that value of the rate) stay in the CSV, and are not run again.
BASE_RATE = 1e-3
RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)
JOINT_RATES = (5e-4, 1e-3, 2e-3, 4e-3)
SGD_RATES = (0.003, 0.01, 0.03, 0.1, 0.3)

# Factor -> value -> what it changes. The base itself is the row "base".
FACTORS: dict[str, dict[str, dict[str, object]]] = {
    "batch": {str(n): {"contrastive.batch_size": n} for n in (32, 64)},
    "epochs": {str(n): {"contrastive.epochs": n} for n in (12, 50)},
    "temperature": {str(t): {"contrastive.temperature": t} for t in (0.05, 0.2)},
    "layer decay": {str(x): {"contrastive.layer_decay": x} for x in (0.55, 1.0)},
    "crop": {str(s): {"views.crop_scale": [s, 1.0]} for s in (0.2, 0.6)},
    "colour": {
        str(x): {f"views.{name}": x for name in ("brightness", "contrast", "saturation")}
        for x in (0.0, 0.6)
    },
    "projection": {str(n): {"contrastive.projection_dim": n} for n in (32, 512)},
    "head strength": {str(c): {"head.strengths": [c]} for c in (0.001, 0.03, 1.0)},
}


def jobs(data: str, backbones: dict[str, str]) -> Iterator[Job]:
    """The learning rates of every arm on every backbone, then the factors of LaCViT on pico."""
    for backbone, spec in backbones.items():
        for seed in SEEDS:
            base = {**BASE, "data.path": data, "backbone.spec": spec}
            column = {"backbone": backbone, "base_lr": "-"}
            row = {**column, "arm": "linear-probe", "factor": "base", "value": "-"}
            yield Job(row, seed, {**base, "method": "linear-probe"})
            for arm, section, rates in (
                ("lacvit", "contrastive", RATES),
                ("cross-entropy", "cross_entropy", RATES),
                ("cross-entropy-paper", "cross_entropy", SGD_RATES),
                ("joint", "joint", JOINT_RATES),
            ):
                for lr in rates:
                    row = {**column, "arm": arm, "factor": "lr", "value": f"{lr:g}"}
                    yield Job(row, seed, {**base, "method": arm, f"{section}.lr": lr})
    base = {**BASE, "data.path": data, "backbone.spec": "pico", "contrastive.lr": BASE_RATE}
    for seed in SEEDS:
        for factor, values in FACTORS.items():
            for value, changes in values.items():
                column = {"backbone": "pico", "base_lr": f"{BASE_RATE:g}", "arm": "lacvit"}
                row = {**column, "factor": factor, "value": value}
                yield Job(row, seed, {**base, "method": "lacvit", **changes})


def main() -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("--arm", help="only this one's runs")
    arguments = parser.parse_args()
    planned = list(jobs(str(arguments.data), backbones(arguments.pretrained)))
    chosen = [job for job in planned if arguments.arm in (None, job.row["arm"])]
    # "test" is what was held out of the training file.
    target = Path(__file__).parent / "results" / "search.csv"
    if not arguments.collect:
        run_all(chosen, arguments.output, arguments.shard, target)
    lines = collect(planned, arguments.output, target, "test")
    print(f"{len(lines)} of {len(planned)} runs")
    print(summarise(lines, ("backbone", "base_lr", "arm", "factor", "value"), "test_accuracy"))


if __name__ == "__main__":
    main()
