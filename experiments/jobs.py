"""Many runs of lacvit, each found again by its name: what search.py and grid.py share."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """One run: the row it belongs to, its seed, and its settings as dotted keys."""

    row: Mapping[str, str]  # the columns that tell it from other rows, such as arm and data set
    seed: int
    settings: Mapping[str, object]

    @property
    def name(self) -> str:
        """Of its run folder."""
        words = "_".join(str(value) for value in self.row.values())
        return f"{words}_s{self.seed}".replace("/", "-").replace(" ", "")


def backbones(pretrained: Path | None) -> dict[str, str]:
    """Backbone name -> what ``backbone.spec`` is given: pico, and what a folder has beside it.

    pretrain_pico.py writes ``pico-mae/pico-mae.pth`` and the like below the folder it is given.
    """
    specs = {"pico": "pico"}
    for method in ("mae", "simmim", "data2vec") if pretrained else ():
        assert pretrained is not None
        path = pretrained.resolve() / f"pico-{method}" / f"pico-{method}.pth"
        if path.exists():
            specs[f"pico-{method}"] = f"file:{path}?format={method}&heads=4"
    return specs


def run_all(jobs: Sequence[Job], output: Path, shard: str, target: Path) -> None:
    """Run every job of a shard (``1/2`` is the first of two) that ``target`` has no line of.

    Finished run folders are left alone too, and unfinished ones gone on with.

    Jobs are dealt out in turn, so that shards of equal number run beside one another.
    """
    # Here, so that collecting what has been run imports no torch.
    from lacvit import pipeline
    from lacvit.config import make_settings
    from lacvit.shared import Shared

    shared = Shared()  # images are decoded once
    number, _, shards = shard.partition("/")
    known = {_key(line) for line in read_lines(target)}
    missing = [job for job in jobs if _key({**job.row, "seed": str(job.seed)}) not in known]
    for index, job in enumerate(missing):
        if index % int(shards) != int(number) - 1:
            continue
        started = time.monotonic()
        settings = make_settings(recipe={**job.settings, "seed": job.seed})
        request = pipeline.Request(output=output / job.name, report=False)
        result = pipeline.train(settings, request, shared=shared)
        seconds = time.monotonic() - started
        print(f"{job.name}: {100 * result.accuracy:.2f} in {seconds:.0f} s", flush=True)


def collect(jobs: Sequence[Job], output: Path, target: Path, split: str) -> list[dict[str, str]]:
    """Add the finished runs to a CSV, a line each, with their accuracy on ``split``."""
    kept = {_key(line): line for line in read_lines(target)}
    planned = {_key({**job.row, "seed": str(job.seed)}) for job in jobs}
    lines = [line for key, line in kept.items() if key not in planned]  # of earlier plans
    for job in jobs:
        known = kept.get(_key({**job.row, "seed": str(job.seed)}))
        if known:
            lines.append(known)
            continue
        metrics = output / job.name / "evaluation" / "metrics.json"
        status = output / job.name / "status.json"
        if metrics.exists():
            figures = json.loads(metrics.read_text())[split]
            seconds = json.loads(status.read_text()).get("seconds", "")
            lines.append(
                {
                    **job.row,
                    "seed": str(job.seed),
                    f"{split}_accuracy": f"{figures['accuracy']:.4f}",
                    "images": str(figures["images"]),
                    "seconds": str(seconds),
                }
            )
    if lines:
        target.parent.mkdir(parents=True, exist_ok=True)
        building = target.with_suffix(".part")
        with building.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)
        building.replace(target)
    return lines


def read_lines(target: Path) -> list[dict[str, str]]:
    """What a CSV of earlier runs says; nothing where there is none."""
    if not target.exists():
        return []
    with target.open(newline="") as file:
        return list(csv.DictReader(file))


FIGURES = ("images", "seconds", "validation_accuracy", "test_accuracy")


def _key(line: Mapping[str, str]) -> tuple[str, ...]:
    """What tells a run from the others: every column that is no figure of it."""
    return tuple(value for name, value in line.items() if name not in FIGURES)


def summarise(lines: Sequence[Mapping[str, str]], keys: Sequence[str], figure: str) -> str:
    """A Markdown table: mean and range over the seeds of each row."""
    groups: dict[tuple[str, ...], list[float]] = {}
    for line in lines:
        groups.setdefault(tuple(line[key] for key in keys), []).append(100 * float(line[figure]))
    rows = [f"| {' | '.join(keys)} | mean | least to most | runs |", "|" + "---|" * (len(keys) + 3)]
    for group, values in groups.items():
        mean = sum(values) / len(values)
        spread = f"{min(values):.1f} to {max(values):.1f}"
        rows.append(f"| {' | '.join(group)} | {mean:.1f} | {spread} | {len(values)} |")
    return "\n".join(rows)
