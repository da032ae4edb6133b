"""The tables of docs/results.md and README.md, from the committed lines of grid.py.

Command:  python experiments/tables.py
Result:   Markdown on standard output; tests/test_docs.py finds every table in the documents.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from lacvit.metrics.verdict import COSINE_STEP, ISO_STEP

RESULTS = Path(__file__).parent / "results"
CELLS = ("cifar10 at 10", "cifar10 at 50", "cifar100 at 10", "flowers102")
# From pico alone, by how many images train: is there a number below which another arm is better?
BY_NUMBER = ("cifar10 at 5", "cifar10 at 10", "cifar10 at 20", "cifar100 at 2", "cifar10 at 100")
# Of more images a class, as far as it went.
MANY = (("cifar10 at 100", "pico"), ("cifar10 at 100", "pico-mae"), ("cifar10 at 500", "pico"))
BACKBONES = ("pico", "pico-mae", "pico-simmim", "pico-data2vec")
ARMS = (
    "linear-probe",
    "cross-entropy-paper",
    "cross-entropy",
    "cross-entropy-refit",
    "lacvit",
    "lacvit-finetune",
    "joint",
    "joint-refit",
)
ON_ALL = ("linear-probe+all", "cross-entropy-refit+all", "lacvit+all", "joint-refit+all")
# The default's head on what each first stage leaves; two of these the default may be (regime.py).
CONTRAST, TUNED = "lacvit+all+crops", "cross-entropy-refit+all+crops"
DEFAULT = "default"  # the one or the other, by the encoder
WITH_CROPS = ("linear-probe+all+crops", TUNED, CONTRAST, "joint-refit+all+crops")
SHORT = {
    "linear-probe": "linear-probe",
    "cross-entropy-paper": "cross-entropy-paper",
    "cross-entropy": "cross-entropy",
    "lacvit": "lacvit",
    "linear-probe+all+crops": "linear-probe, the default's head",
    DEFAULT: "the default",
}
SHOWN = {"flowers102": "flowers102, a part"}  # 2,039 of its images are at hand
# First stage in default_arm.csv -> the arm that it makes.
STAGES = {
    "linear-probe": "untouched",
    "cross-entropy": "cross-entropy-refit",
    "lacvit": "lacvit",
    "joint": "joint-refit",
}
AGAINST = (
    "cross-entropy",
    "linear-probe",
    "cross-entropy-refit",
    "lacvit",
    "linear-probe+all+crops",
)

Line = Mapping[str, str]
Cell = tuple[str, str]  # data with images a class, and backbone


def read(name: str) -> list[Line]:
    with (RESULTS / name).open(newline="") as file:
        return list(csv.DictReader(file))


class Grid:
    """The runs of grid.csv by cell and arm."""

    def __init__(self) -> None:
        self._values: dict[tuple[Cell, str], list[float]] = {}
        for line in read("grid.csv"):
            key = ((line["cell"], line["backbone"]), line["arm"])
            self._values.setdefault(key, []).append(100 * float(line["test_accuracy"]))
        there = {cell for cell, _ in self._values}
        self.cells = [(c, b) for c in CELLS for b in BACKBONES if (c, b) in there]

    def has(self, cell: Cell, arm: str) -> bool:
        """Whether it was run under every seed of the cell."""
        return 0 < len(self._values.get((cell, arm), ())) == self.seeds(cell)

    def mean(self, cell: Cell, arm: str) -> float:
        return fmean(self._values[cell, arm])

    def seeds(self, cell: Cell) -> int:
        return len(self._values.get((cell, "lacvit"), ()))


def accuracies(grid: Grid, arms: Sequence[str], names: Mapping[str, str] = {}) -> str:
    lines = [("data, images a class", "backbone", "seeds", *(names.get(arm, arm) for arm in arms))]
    for cell in grid.cells:
        meant = [the_default(cell)[0] if arm == DEFAULT else arm for arm in arms]
        values = [f"{grid.mean(cell, arm):.1f}" if grid.has(cell, arm) else "-" for arm in meant]
        best = max((value for value in values if value != "-"), key=float, default="")
        bold = [f"**{value}**" if value == best else value for value in values]
        if best:
            lines.append((SHOWN.get(cell[0], cell[0]), cell[1], str(grid.seeds(cell)), *bold))
    return table(lines)


def claims(grid: Grid) -> str:
    """The paper's claims of the two stages: accuracy, and isotropy by both readings.

    Beside the latter stands what tuned cross-entropy makes of the same encoder.
    """
    found: dict[tuple[Cell, str, str], list[float]] = {}
    for line in read("grid-geometry.csv"):
        for measure in ("mean_cosine", "iso_score"):
            key = ((line["cell"], line["backbone"]), line["arm"], measure)
            found.setdefault(key, []).append(float(line[measure]))
    lines = [
        (
            "cell",
            "over cross-entropy-paper",
            "over tuned cross-entropy",
            "mean cosine, before to after",
            "after cross-entropy",
            "IsoScore, before to after",
            "after cross-entropy",
        )
    ]
    for cell in grid.cells:
        said = []
        for measure, digits, better in (("mean_cosine", 2, -1), ("iso_score", 3, 1)):
            before, after, tuned = (
                fmean(found[cell, arm, measure])
                for arm in ("linear-probe", "lacvit", "cross-entropy")
            )
            turn = better * (abs(after) - abs(before))
            step = COSINE_STEP if measure == "mean_cosine" else ISO_STEP
            way = "more isotropic" if turn > 0 else "less isotropic"
            word = "unchanged" if abs(turn) < step else way
            said += [f"{before:.{digits}f} to {after:.{digits}f}: {word}", f"{tuned:.{digits}f}"]
        gains = [
            difference(cell, "lacvit", arm) for arm in ("cross-entropy-paper", "cross-entropy")
        ]
        lines.append((named(cell), *gains, *said))
    return table(lines)


def default(grid: Grid) -> str:
    lines = [("cell", *(f"over {arm}" for arm in AGAINST), "over the other arm with its head")]
    for cell in grid.cells:
        ours, other = the_default(cell)
        there = [arm if grid.has(cell, arm) else None for arm in (*AGAINST, other)]
        lines.append((named(cell), *(difference(cell, ours, arm) if arm else "-" for arm in there)))
    return table(lines)


def by_number(grid: Grid) -> str:
    """The default's arm from pico beside the others with its head, as differences from it."""
    others = [arm for arm in WITH_CROPS if arm != CONTRAST]
    lines = [
        (
            "cell",
            "seeds",
            "cross-entropy",
            "lacvit, the default's head",
            *(f"over {a}" for a in others),
        )
    ]
    for cell in ((name, "pico") for name in BY_NUMBER):
        if not grid.has(cell, CONTRAST):
            continue
        means = [f"{grid.mean(cell, arm):.1f}" for arm in ("cross-entropy", CONTRAST)]
        over = [difference(cell, CONTRAST, arm) for arm in others]
        lines.append((cell[0], str(grid.seeds(cell)), *means, *over))
    return table(lines)


def many(grid: Grid) -> str:
    """Arms at more images a class, the default's head among them, and what the default gains."""
    arms = ("linear-probe", "cross-entropy", "lacvit", "joint", *WITH_CROPS)
    lines = [("cell", "seeds", *arms, "the default over cross-entropy")]
    for cell in MANY:
        means = [f"{grid.mean(cell, arm):.1f}" for arm in arms]
        gain = difference(cell, the_default(cell)[0], "cross-entropy")
        lines.append((named(cell), str(grid.seeds(cell)), *means, gain))
    return table(lines)


def over_joint(lines: Sequence[Line], reader: str) -> str:
    """What default_arm.py asks: accuracies, and points over ``joint``, of one reader of features.

    The last row is the mean over the data sets of the means over their cells.
    """
    values: dict[tuple[str, str], dict[str, float]] = {}
    for line in lines:
        if line["reader"] == reader:
            accuracy = 100 * float(line["test_accuracy"])
            values.setdefault((line["cell"], line["stage"]), {})[line["seed"]] = accuracy
    cells = dict.fromkeys(cell for cell, _ in values)
    sets: dict[str, list[str]] = {}
    for cell in cells:
        sets.setdefault(cell.split()[0], []).append(cell)

    def gain(cell: str, stage: str) -> float:
        own, joint = values[cell, stage], values[cell, "joint"]
        return fmean(own[seed] - joint[seed] for seed in own.keys() & joint.keys())

    table_lines = [(f"{reader}, pico", *STAGES.values())]
    for cell in cells:
        shown = (f"{fmean(values[cell, s].values()):.1f} ({gain(cell, s):+.1f})" for s in STAGES)
        table_lines.append((cell, *shown))
    means = (fmean(fmean(gain(c, s) for c in of_set) for of_set in sets.values()) for s in STAGES)
    table_lines.append(("mean of the three sets", *(f"{mean:+.2f}" for mean in means)))
    return table(table_lines)


def the_default(cell: Cell) -> tuple[str, str]:
    """What the default is in a cell, and what it would be of the other kind of encoder."""
    return (CONTRAST, TUNED) if cell[1] == "pico" else (TUNED, CONTRAST)


def named(cell: Cell) -> str:
    return f"{SHOWN.get(cell[0], cell[0])}, {cell[1]}"


def difference(cell: Cell, arm: str, other: str) -> str:
    line = next(
        line
        for line in read("grid-pairs.csv")
        if (line["cell"], line["backbone"], line["method"], line["against"]) == (*cell, arm, other)
    )
    return judged(line)


def judged(line: Line) -> str:
    """With the smallest difference that the design finds where it found none."""
    value, low, high = (f"{100 * float(line[key]):+.1f}" for key in ("difference", "low", "high"))
    said = f"{value} ({low} to {high}): {line['verdict']}"
    if line["verdict"] != "unsettled":
        return said
    return f"{said}, finds {100 * float(line['detectable']):.1f}"


def ablation() -> str:
    runs: dict[str, list[float]] = {}
    for line in read("ablation.csv"):
        runs.setdefault(line["arm"], []).append(100 * float(line["test_accuracy"]))
    ahead = {line["against"]: judged(line) for line in read("ablation-pairs.csv")}
    lines = [
        (
            "variant of lacvit",
            "Accuracy@1, least to most",
            "supcon at 0.1, batch 128, exact head, is ahead by",
        )
    ]
    for arm, values in runs.items():
        shown = f"{fmean(values):.1f} ({min(values):.1f} to {max(values):.1f})"
        lines.append((arm, shown, ahead.get(arm, "-")))
    return table(lines)


def goals(grid: Grid) -> str:
    """What the default is worth on average, in points."""
    parts = {
        f"all {len(grid.cells)} cells": grid.cells,
        "pico": [cell for cell in grid.cells if cell[1] == "pico"],
        "the others": [cell for cell in grid.cells if cell[1] != "pico"],
    }
    lines = [("mean over", *(f"over {arm}" for arm in AGAINST), "over the other arm with its head")]
    for name, cells in parts.items():
        gains = [
            fmean(
                grid.mean(cell, the_default(cell)[0]) - grid.mean(cell, other)
                for cell in cells
                if grid.has(cell, other := arm or the_default(cell)[1])
            )
            for arm in (*AGAINST, "")
        ]
        both = sum(grid.has(cell, the_default(cell)[1]) for cell in cells)
        few = f" ({both} cells)" if both < len(cells) else ""
        lines.append((name, *(f"{gain:+.1f}" for gain in gains[:-1]), f"{gains[-1]:+.1f}{few}"))
    return table(lines)


def demo() -> str:
    """What `lacvit demo` shows at its end, and the same methods by one step an epoch."""
    found: dict[tuple[str, str], list[float]] = {}
    for line in read("demo.csv"):
        accuracy = 100 * float(line["test_accuracy"])
        found.setdefault((line["method"], line["batch"]), []).append(accuracy)
    lines = [("method", "batch", "mean", "least to most")]
    for (method, batch), values in found.items():
        spread = f"{min(values):.1f} to {max(values):.1f}"
        shown = "-" if method == "linear-probe" else batch
        lines.append((method, shown, f"{fmean(values):.1f}", spread))
    return table(lines)


def table(lines: Sequence[Sequence[str]]) -> str:
    head, *rest = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, "|" + "---|" * len(lines[0]), *rest])


def all_tables() -> dict[str, list[str]]:
    """Document -> the tables that it has."""
    grid = Grid()
    return {
        "docs/results.md": [
            accuracies(grid, ARMS),
            accuracies(grid, ON_ALL),
            accuracies(grid, WITH_CROPS),
            default(grid),
            goals(grid),
            *(over_joint(read("default_arm.csv"), reader) for reader in ("head", "neighbours")),
            by_number(grid),
            many(grid),
            claims(grid),
            ablation(),
            demo(),
        ],
        "README.md": [accuracies(grid, tuple(SHORT), SHORT)],
    }


if __name__ == "__main__":
    for document, tables in all_tables().items():
        print(f"{document}\n")
        print("\n\n".join(tables), "\n")
