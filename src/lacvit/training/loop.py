"""The one training loop. A stage says what a batch and a step are; the loop does the rest.

An epoch is a pure function of the weights, the optimiser's state, the seed and its number: the
random state is set anew from the last two at its start. So a run resumed from the checkpoint of
any epoch ends in the weights of the uninterrupted one (on CUDA up to the rounding of its sums).

Among several processes each takes its share of every step, and all take the same step: gradients
and figures are averaged, the first process writes.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from lacvit.distributed import (
    Group,
    average_gradients_,
    from_main,
    mean_figures,
    rank_of,
    together,
)
from lacvit.errors import Diverged
from lacvit.run_folder import StageFolder
from lacvit.training import checkpoint
from lacvit.training.logs import Progress, StageLog
from lacvit.training.optim import (
    ParameterGroup,
    build_optimizer,
    clip_gradients,
    schedule,
    set_learning_rates,
)

BatchT = TypeVar("BatchT")


class Stage(Protocol[BatchT]):
    """One stage of training."""

    name: str
    modules: Mapping[str, nn.Module]  # what a checkpoint holds
    steps_per_epoch: int

    def parameter_groups(self) -> list[ParameterGroup]:
        """What trains, and at which share of the learning rate."""

    def begin_epoch(self) -> None:
        """Put the modules in the right mode, forget the last epoch's figures."""

    def batches(self, epoch: int) -> Iterator[BatchT]:
        """The epoch's batches, the short last one included."""

    def step(self, batch: BatchT) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch, attached to the graph, and other figures of it.

        Among several processes the mean of what they give, and of their gradients, is the
        whole batch's.
        """

    def validate(self) -> dict[str, float]:
        """Figures of the epoch that has just ended."""


@dataclass(frozen=True)
class LoopPlan:
    """How long and how fast."""

    epochs: int
    optimizer: str
    lr: float
    warmup: float
    clip_norm: float
    seed: int


def run_stage(
    stage: Stage[BatchT],
    plan: LoopPlan,
    folder: StageFolder,
    progress: Progress,
    group: Group = None,
) -> None:
    """Train a stage to its last epoch, from its last checkpoint if it has one.

    With a ``group``, all its processes call this with the same stage, each with its own shares.

    Raises:
        Diverged: the loss is no longer finite.
        InputError: a checkpoint cannot be read or written.
    """
    groups = stage.parameter_groups()
    optimizer = build_optimizer(groups, plan.optimizer)
    start = together(
        lambda: checkpoint.restore(folder.checkpoints, stage.modules, optimizer), group
    )
    if start >= plan.epochs:
        return
    progress.begin(stage.name, epochs=plan.epochs, done=start)
    try:
        with StageLog(folder, start) if rank_of(group) == 0 else nullcontext() as log:
            for epoch in range(start, plan.epochs):
                torch.manual_seed(epoch_seed(plan.seed, stage.name, epoch, rank_of(group)))
                scalars = _run_epoch(stage, plan, optimizer, epoch, progress, group)
                scalars |= stage.validate()
                from_main(partial(_keep, log, folder, epoch, scalars, stage, optimizer), group)
                progress.epoch(epoch, scalars)
    finally:
        progress.end()  # a live display gives the terminal its cursor back


def _keep(
    log: StageLog | None,
    folder: StageFolder,
    epoch: int,
    scalars: Mapping[str, float],
    stage: Stage[BatchT],
    optimizer: torch.optim.Optimizer,
) -> None:
    assert log is not None  # the first process keeps
    log.write(epoch, scalars)
    checkpoint.save(folder.checkpoints, epoch + 1, stage.modules, optimizer)


def _run_epoch(
    stage: Stage[BatchT],
    plan: LoopPlan,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    progress: Progress,
    group: Group,
) -> dict[str, float]:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    steps = plan.epochs * stage.steps_per_epoch
    sums: dict[str, float] = defaultdict(float)
    stage.begin_epoch()
    done = 0
    asked = started = time.perf_counter()
    for batch in stage.batches(epoch):
        sums["data_seconds"] += time.perf_counter() - asked
        step = epoch * stage.steps_per_epoch + done
        lr = plan.lr * schedule(step, steps=steps, warmup=plan.warmup)
        set_learning_rates(optimizer, lr)
        optimizer.zero_grad()
        loss, scalars = stage.step(batch)
        loss.backward()
        average_gradients_(parameters, group)
        figures = mean_figures({"loss": loss.item(), **scalars}, group)
        norm = clip_gradients(parameters, plan.clip_norm)
        _check_finite(figures["loss"], norm, stage.name, epoch)
        optimizer.step()
        done += 1
        for name, value in {**figures, "gradient_norm": norm, "lr": lr}.items():
            sums[name] += value
        progress.step(done / stage.steps_per_epoch)
        asked = time.perf_counter()
    means = {name: total / done for name, total in sums.items()}
    return means | {"step_seconds": (time.perf_counter() - started) / done}


def _check_finite(loss: float, norm: float, stage: str, epoch: int) -> None:
    if not (np.isfinite(loss) and np.isfinite(norm)):
        raise Diverged(
            f"The {stage} stage diverged in epoch {epoch + 1}: loss {loss:g}, gradient "
            f"norm {norm:g}. Use a lower --lr, or a higher --temperature in the contrastive stage."
        )


def epoch_seed(seed: int, stage: str, epoch: int, rank: int = 0) -> int:
    """A seed for torch that no other (seed, stage, epoch, rank) shares."""
    words = [seed, epoch, *stage.encode(), *([256 + rank] if rank else [])]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))
