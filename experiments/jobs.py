"""Many runs of lacvit, each found again by its name: what search.py and grid.py share."""

from __future__ import annotations

import argparse
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
    group: str = ""  # jobs of a group are of one shard: one takes the encoder that another trained

    @property
    def name(self) -> str:
        """Of its run folder."""
        words = "_".join(str(value) for value in self.row.values())
        return f"{words}_s{self.seed}".replace("/", "-").replace(" ", "")


def arguments_of(text: str | None) -> argparse.ArgumentParser:
    """What the programs of many runs are asked by; ``text`` is their own."""
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pretrained", type=Path, help="leave out to run pico alone")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--shard", default="1/1")
    parser.add_argument("--collect", action="store_true", help="only write the tables")
    return parser


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


def dealt(jobs: Sequence[Job], shard: str) -> list[Job]:
    """The jobs of a shard, such as ``1/2``: groups are dealt out in turn, whatever has been run."""
    number, _, shards = shard.partition("/")
    groups = list(dict.fromkeys(job.group or job.name for job in jobs))
    mine = set(groups[int(number) - 1 :: int(shards)])
    return [job for job in jobs if (job.group or job.name) in mine]


def to_run(jobs: Sequence[Job], output: Path, target: Path, plan: Sequence[Job] = ()) -> list[Job]:
    """Those that ``target`` has no line of, and before each the job whose encoder it takes.

    The latter may have its line from another machine, and no folder here; ``plan`` has it where
    the jobs are a part of one.
    """
    known = {_key(line) for line in read_lines(target)}
    by_folder = {str(output / job.name): job for job in plan or jobs}
    found: dict[str, Job] = {}
    for job in jobs:
        if _key({**job.row, "seed": str(job.seed)}) in known:
            continue
        first = by_folder.get(str(job.settings.get("backbone.spec", "")).removeprefix("run:"))
        for needed in (first, job):
            if needed is not None:
                found.setdefault(needed.name, needed)
    return list(found.values())


def run_all(
    jobs: Sequence[Job],
    output: Path,
    shard: str,
    target: Path,
    *,
    minutes: float | None = None,
    plan: Sequence[Job] = (),
) -> None:
    """Run every job of a shard that ``target`` has no line of.

    Finished run folders are left alone too, and unfinished ones gone on with.

    Args:
        jobs: what is asked for; a shard is a part of it.
        output: where run folders go.
        shard: ``1/2`` is the first of two.
        target: a CSV of earlier runs.
        minutes: no run is begun after so many; the same command goes on.
        plan: all jobs, where those asked for may take the encoders of others.
    """
    # Here, so that collecting what has been run imports no torch.
    from lacvit import pipeline
    from lacvit.config import make_settings
    from lacvit.shared import Shared

    shared = Shared()  # images are decoded once
    begun = time.monotonic()
    for job in to_run(dealt(jobs, shard), output, target, plan):
        started = time.monotonic()
        if minutes is not None and started - begun > 60 * minutes:
            print("Time is up: the same command goes on.", flush=True)
            return
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
