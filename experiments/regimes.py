"""Do the default's temperature and views want other values in other regimes?

The default's arm of either kind of encoder, with the default's head: `lacvit` from pico,
`cross-entropy-refit` (which has no temperature) from pico-mae. One factor at a time around what
`lacvit train` has everywhere, in three cells. Judged as in search.py: only the training file is
read, a fifth of it is held out and judges, the same images under every seed.

The rule, written before the first run: another value becomes the default of a regime (images a
class, classes, kind of pretraining) where it is ahead by a paired t at 95 % over the seeds of the
cell, after Holm over the 30 pairs of this table; else the constant stays.

Command:  python experiments/regimes.py --data DATA --pretrained runs --output runs/regimes
          (--shard 1/2 and 2/2 beside one another, each with OMP_NUM_THREADS=1; then --collect)
Hardware: 2 cores, no GPU.
Time:     20 to 90 seconds a run and core.
Result:   experiments/results/regimes.csv, a line a run; the table in docs/log.md is printed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from grid import CELLS, CROPS, RATES, kind
from jobs import Job, arguments_of, backbones, collect, run_all
from scipy import stats
from tables import table

from lacvit.metrics.significance import holm
from lacvit.regime import ARMS

RESULT = Path(__file__).parent / "results" / "regimes.csv"
SEEDS = (100, 101, 102)  # never used by a table
ASKED = ("cifar10 at 10", "cifar10 at 50", "cifar100 at 10")
PAIRS = 30  # of the rule, however many have run
BASE = "as it is"  # temperature 0.1, crops of 0.35 to 1, colour jitter 0.3
COLOUR = ("brightness", "contrast", "saturation")
FACTORS: dict[str, dict[str, object]] = {
    BASE: {},
    "crop 0.2": {"views.crop_scale": [0.2, 1.0]},
    "crop 0.6": {"views.crop_scale": [0.6, 1.0]},
    "colour 0": {f"views.{name}": 0.0 for name in COLOUR},
    "colour 0.6": {f"views.{name}": 0.6 for name in COLOUR},
    "temperature 0.05": {"contrastive.temperature": 0.05},
    "temperature 0.2": {"contrastive.temperature": 0.2},
}

Line = Mapping[str, str]


def jobs(data: Path, specs: Mapping[str, str]) -> Iterator[Job]:
    for seed in SEEDS:
        for cell in ASKED:
            folder, settings = CELLS[cell]
            for backbone, spec in specs.items():
                arm = ARMS["labels" if kind(backbone) == "labels" else "none"]
                base = {
                    **settings, **CROPS, **RATES[kind(backbone)], "method": arm,
                    "data.path": str(data / folder / "train.parquet"), "backbone.spec": spec,
                }  # fmt: skip
                for factor, changes in FACTORS.items():
                    if arm == "lacvit" or not factor.startswith("temperature"):
                        row = {"cell": cell, "backbone": backbone, "arm": arm, "factor": factor}
                        yield Job(row, seed, {**base, **changes})


def answer(lines: Sequence[Line]) -> str:
    """Accuracies held out, and each change's paired difference with its p before and after Holm."""
    found: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for line in lines:
        of_cell = found.setdefault((line["cell"], line["backbone"]), {})
        of_cell.setdefault(line["factor"], {})[line["seed"]] = 100 * float(line["test_accuracy"])
    changed = []
    for (cell, backbone), by_factor in found.items():
        base = by_factor.get(BASE, {})
        for factor, by_seed in by_factor.items():
            seeds = sorted(by_seed.keys() & base.keys())
            if factor != BASE and len(seeds) > 1:
                pair = [np.array([of[seed] for seed in seeds]) for of in (by_seed, base)]
                p = float(stats.ttest_rel(*pair).pvalue)
                changed.append((cell, backbone, factor, *(float(x.mean()) for x in pair), p))
    corrected = holm([row[-1] for row in changed], of=PAIRS)
    rows = [("cell", "backbone", "changed", "held out", "as it is", "points", "p", "p (Holm)")]
    for (cell, backbone, factor, value, base, p), p_holm in zip(changed, corrected, strict=True):
        figures = (f"{value:.1f}", f"{base:.1f}", f"{value - base:+.1f}", f"{p:.2f}")
        rows.append((cell, backbone, factor, *figures, f"{p_holm:.2f}"))
    return table(rows)


def main() -> None:
    arguments = arguments_of(__doc__).parse_args()
    known = backbones(arguments.pretrained)
    specs = {name: spec for name, spec in known.items() if name in ("pico", "pico-mae")}
    planned = list(jobs(arguments.data, specs))
    if not arguments.collect:
        run_all(planned, arguments.output, arguments.shard, RESULT)
    lines = collect(planned, arguments.output, RESULT, "test")  # held out of the training file
    print(f"{len(lines)} of {len(planned)} runs")
    print(answer(lines))


if __name__ == "__main__":
    main()
