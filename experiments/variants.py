"""Options of training that the product does not have, each tried in the arms that could use it.

- ``ema R``: the weights of the encoder and its heads are averaged over the steps, at rate R, and
  the average takes their place when the stage ends (Polyak and Juditsky 1992).
- ``K a class``: a batch is made of groups of K images of one class (P classes x K images).
- ``spread W``: W of the contrastive loss is a term in which, among the views of one class, only
  those of one image attract (class-conditional InfoNCE: Chen et al. 2022, arXiv 2204.07596).
- ``last N``: the top N blocks train, the rest stays as it was.

Judged as in search.py, on images held out of the training file, after the exact head was fitted on
the frozen encoder. What helps nowhere stays out of the package; this program keeps it repeatable.

Command:  python experiments/variants.py --data DATA --pretrained runs --output runs/variants
Hardware: 2 cores, no GPU.
Time:     80 seconds a run on CIFAR-10, 140 on CIFAR-100, on one core; two hours in all.
Result:   experiments/results/variants.csv and docs/log.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from grid import RATES, kind
from jobs import Job, arguments_of, backbones, collect, run_all, summarise
from search import BASE, SEEDS

from lacvit import staging
from lacvit.data import batches
from lacvit.data.batches import Batch, DecodedImages, ViewPlan, epoch_order
from lacvit.distributed import Group
from lacvit.losses import contrastive_loss, supcon_loss
from lacvit.run_folder import StageFolder
from lacvit.training import contrastive, cross_entropy, joint, loop
from lacvit.training.logs import Progress
from lacvit.training.optim import ParameterGroup, build_optimizer

RESULT = Path(__file__).parent / "results" / "variants.csv"
CELLS: dict[str, dict[str, object]] = {
    "cifar10 at 50": {},
    "cifar100 at 10": {"data.shots": 10},
}
PLAIN = "plain"
# Cell -> arm -> the options tried in it. Of 100 classes a batch has one image or two of each by
# itself, of ten it has thirteen.
TRIED: dict[str, dict[str, tuple[str, ...]]] = {
    "cifar10 at 50": {
        "joint-refit": (PLAIN, "ema 0.9", "ema 0.97", "last 3", "spread 0.3", "4 a class"),
        "cross-entropy-refit": (PLAIN, "ema 0.9", "ema 0.97", "last 3", "4 a class"),
        "lacvit": (PLAIN, "ema 0.97", "last 3", "spread 0.3", "4 a class"),
    },
    "cifar100 at 10": {
        "joint-refit": (PLAIN, "4 a class"),
        "cross-entropy-refit": (PLAIN, "4 a class"),
        "lacvit": (PLAIN, "4 a class", "spread 0.3"),
    },
}


@contextmanager
def averaged(rate: float) -> Iterator[None]:
    """Stages end in the average of their weights, which starts at those of the first step."""
    kept: dict[torch.Tensor, torch.Tensor] = {}

    def built(groups: Sequence[ParameterGroup], name: str) -> torch.optim.Optimizer:
        optimizer = build_optimizer(groups, name)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        kept.clear()
        kept.update({parameter: parameter.detach().clone() for parameter in parameters})

        def after(*_: object) -> None:
            for parameter, average in kept.items():
                average.lerp_(parameter.detach(), 1 - rate)

        optimizer.register_step_post_hook(after)
        return optimizer

    def run(
        stage: loop.Stage[Batch],
        plan: loop.LoopPlan,
        folder: StageFolder,
        progress: Progress,
        group: Group,
    ) -> None:
        loop.run_stage(stage, plan, folder, progress, group)
        for parameter, average in kept.items():
            parameter.data.copy_(average)

    with patch.object(loop, "build_optimizer", built), patch.object(staging, "run_stage", run):
        yield


@contextmanager
def grouped(size: int) -> Iterator[None]:
    """The epoch's order in groups of ``size`` images of a class; each image once, as before."""
    made = batches.view_batches

    def view_batches(
        images: DecodedImages, labels: np.ndarray, plan: ViewPlan, epoch: int
    ) -> Iterator[Batch]:
        def order(n: int, *, seed: int, epoch: int) -> np.ndarray:
            shuffled = epoch_order(n, seed=seed, epoch=epoch)
            groups = [
                of_class[start : start + size]
                for label in np.unique(labels)
                for of_class in [shuffled[labels[shuffled] == label]]
                for start in range(0, len(of_class), size)
            ]
            return np.concatenate(
                [groups[i] for i in epoch_order(len(groups), seed=seed, epoch=epoch)]
            )

        with patch.object(batches, "epoch_order", order):
            yield from made(images, labels, plan, epoch)

    with (
        patch.object(joint, "view_batches", view_batches),
        patch.object(contrastive, "view_batches", view_batches),
        patch.object(cross_entropy, "view_batches", view_batches),
    ):
        yield


@contextmanager
def spread(weight: float) -> Iterator[None]:
    """The contrastive loss with its class-conditional term."""

    def with_term(
        name: str, *, temperature: float, negative_weighting: float, group: Group
    ) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]:
        whole = contrastive_loss(
            name, temperature=temperature, negative_weighting=negative_weighting, group=group
        )

        def loss(
            z_ND: torch.Tensor, labels_N: torch.Tensor, images_N: torch.Tensor
        ) -> torch.Tensor:
            within = [
                supcon_loss(
                    z_ND[labels_N == label], images_N[labels_N == label], temperature=temperature
                )
                for label in labels_N.unique()
            ]
            shares = labels_N.unique(return_counts=True)[1] / len(labels_N)
            term = (torch.stack(within) * shares).sum()
            return (1 - weight) * whole(z_ND, labels_N, images_N) + weight * term

        return loss

    with (
        patch.object(joint, "contrastive_loss", with_term),
        patch.object(contrastive, "contrastive_loss", with_term),
    ):
        yield


def option(name: str) -> tuple[dict[str, object], AbstractContextManager[None]]:
    """Settings and a way to train of an option of ``TRIED``."""
    if name == PLAIN:
        return {}, ExitStack()
    if name.startswith("last "):
        return {"backbone.trainable": name.replace(" ", "-")}, ExitStack()
    ways: dict[str, Callable[[float], AbstractContextManager[None]]] = {
        "ema": averaged,
        "spread": spread,
    }
    if name.endswith(" a class"):
        return {}, grouped(int(name.split()[0]))
    kind_of, value = name.split()
    return {}, ways[kind_of](float(value))


def jobs(data: Path, specs: dict[str, str]) -> Iterator[Job]:
    for seed in SEEDS:
        for cell, arms in TRIED.items():
            file = data / cell.split()[0] / "train.parquet"
            for backbone, spec in specs.items():
                base = {**BASE, **CELLS[cell], "data.path": str(file), "backbone.spec": spec}
                for arm, options in arms.items():
                    for name in options:
                        row = {"cell": cell, "backbone": backbone, "arm": arm, "option": name}
                        settings = {**base, "method": arm, **RATES[kind(backbone)]}
                        yield Job(row, seed, settings | option(name)[0])


def main() -> None:
    arguments = arguments_of(__doc__).parse_args()
    known = backbones(arguments.pretrained)
    specs = {name: spec for name, spec in known.items() if name in ("pico", "pico-mae")}
    planned = list(jobs(arguments.data, specs))
    number, _, shards = arguments.shard.partition("/")
    for job in [] if arguments.collect else planned[int(number) - 1 :: int(shards)]:
        with option(job.row["option"])[1]:
            run_all([job], arguments.output, "1/1", RESULT)
    lines = collect(planned, arguments.output, RESULT, "test")  # held out of the training file
    print(f"{len(lines)} of {len(planned)} runs")
    print(summarise(lines, ("cell", "backbone", "arm", "option"), "test_accuracy"))


if __name__ == "__main__":
    main()
