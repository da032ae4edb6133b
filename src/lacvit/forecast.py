"""How long a run will take and what it needs, from a few timed steps; and how to fit it in."""

from __future__ import annotations

import importlib
import math
import statistics
import sys
import time
from dataclasses import dataclass

import torch

from lacvit.arms import find_arm
from lacvit.backbones import Backbone
from lacvit.config import RunSettings
from lacvit.data.splits import Splits
from lacvit.devices import autocast, wait_for
from lacvit.distributed import launched
from lacvit.errors import InputError
from lacvit.evaluation.geometry import MOST_TRAIN
from lacvit.features import PIXELS_ON_A_PROCESSOR
from lacvit.planning import crops_of
from lacvit.training.trainable import set_trainable

TIMED_STEPS, TIMED_IMAGES = 3, 128
VIEWS_SHARE = 1.15  # making views, the heads and the optimiser, over the bare encoder's step
REPORT_SECONDS = 10.0


@dataclass(frozen=True)
class StageForecast:
    """One stage's share of the run."""

    name: str
    epochs: int
    steps: int  # none where a head is solved at once
    seconds: float


@dataclass(frozen=True)
class Forecast:
    """What a run would do."""

    stages: tuple[StageForecast, ...]
    other_seconds: float  # evaluation and report
    parameters: int
    trained: int
    memory_bytes: int | None  # of one process at the most, as measured; unknown on Windows
    processes: int = 1

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return sum(stage.seconds for stage in self.stages) + self.other_seconds


@dataclass(frozen=True)
class ImageSeconds:
    """What one image costs the backbone, as measured."""

    training: float  # a training step's share, views and optimiser included
    encoding: float  # in the precision of training, as validation is while it lasts
    reading: float  # in float32, as features of heads and measures are


def forecast(settings: RunSettings, backbone: Backbone, splits: Splits) -> Forecast:
    """Time a few training steps and a forward pass of the backbone, and multiply.

    The backbone's weights are left as they are. Of several processes that a launcher started, one
    is timed on its share of a batch, as if the others did not slow it down.
    """
    processes = launched()
    seconds = time_backbone(settings, backbone, processes)
    stages, other = multiply(settings, splits, seconds, processes)
    counts = [(p.numel(), p.requires_grad) for p in backbone.parameters()]
    return Forecast(
        stages=stages,
        other_seconds=other + REPORT_SECONDS,
        parameters=sum(n for n, _ in counts),
        trained=sum(n for n, trains in counts if trains) if stages[0].name != "head" else 0,
        memory_bytes=_peak_memory(torch.device(settings.device)),
        processes=processes,
    )


def multiply(
    settings: RunSettings, splits: Splits, seconds: ImageSeconds, processes: int = 1
) -> tuple[tuple[StageForecast, ...], float]:
    """The stages of a run whose settings have no ``auto`` left, and the seconds of evaluating."""
    n_train = len(splits.train)
    training, encoding = seconds.training, seconds.encoding
    n_encoded, n_validation = (
        math.ceil(len(records) / processes) for records in (splits.train, splits.validation)
    )
    reading = _reading(settings, seconds.reading)
    both = n_encoded + n_validation
    stages = []
    for name in find_arm(settings.method).stages:
        if name == "head":
            live = settings.head.solver == "sgd" and settings.head.features == "live"
            sgd = settings.head.solver == "sgd"
            epochs = int(settings.head.epochs) if sgd else 1
            fitted = epochs * seconds.reading if live else reading
            cost = n_encoded * fitted + n_validation * reading
            steps = epochs * math.ceil(n_train / settings.head.batch_size) if sgd else 0
        else:
            stage = getattr(settings, name)
            views = 1 if name == "cross_entropy" else settings.views.count
            epochs = int(stage.epochs)
            steps = epochs * math.ceil(n_train / stage.batch_size)
            own = share_of_epoch(n_train, stage.batch_size, processes)
            cost = epochs * (own * views * training + n_validation * encoding)
            if getattr(stage, "head_init", None) == "probe":
                cost += both * seconds.reading
        stages.append(StageForecast(name, epochs, steps, cost))
    return tuple(stages), _evaluating(settings, splits, reading, processes)


def _reading(settings: RunSettings, encoding: float) -> float:
    """Seconds of an image's feature, which may be that of several crops."""
    crops = crops_of(settings)
    return encoding * (1 if crops is None else len(crops))


def _evaluating(settings: RunSettings, splits: Splits, reading: float, processes: int) -> float:
    """Seconds of what `outcome` encodes: by the untouched encoder, and by the trained one."""
    arm = find_arm(settings.method)
    # An exact head and one of neighbours leave the features that they were solved on.
    left = arm.stages[-1] == "head" and settings.head.solver != "sgd"
    measured, test, validation = (
        math.ceil(n / processes)
        for n in (min(len(splits.train), MOST_TRAIN), len(splits.test), len(splits.validation))
    )
    first = getattr(settings, arm.stages[0])
    probed = getattr(first, "head_init", None) == "probe" and crops_of(settings) is None
    images = test + (0 if probed or (left and not arm.trains_encoder) else measured)
    if arm.trains_encoder:
        images += test + (0 if left else measured)
    return (images + (0 if left else validation)) * reading


def share_of_epoch(n: int, batch_size: int, processes: int) -> int:
    """Images of an epoch of n that the busiest process works on; all wait for it every step."""
    whole, rest = divmod(n, batch_size)
    return whole * math.ceil(batch_size / processes) + math.ceil(rest / processes)


def time_backbone(settings: RunSettings, backbone: Backbone, processes: int = 1) -> ImageSeconds:
    """Time a few training steps and forward passes; the weights are left as they are.

    The backbone is moved to the settings' device, and what they do not train is frozen.
    """
    device = torch.device(settings.device)
    backbone.to(device)
    set_trainable(backbone, settings.backbone, seed=settings.seed)
    count = _timed_images(settings, backbone.input_spec.size, processes)
    size = backbone.input_spec.size
    images = torch.zeros(count, 3, size, size, device=device)
    precision = "fp32" if settings.precision == "auto" else settings.precision
    times: dict[str, list[float]] = {"train": [], "encode": [], "read": []}
    for _ in range(TIMED_STEPS + 1):
        started = time.perf_counter()
        with autocast(device, precision):
            features = backbone(images).float().sum()
            if features.requires_grad:  # it does not where only the head trains
                features.backward()
        wait_for(device)
        times["train"].append(time.perf_counter() - started)
        for name, at in (("encode", precision), ("read", "fp32")):
            if name == "read" and precision == "fp32":
                times["read"].append(times["encode"][-1])
                continue
            started = time.perf_counter()
            with torch.no_grad(), autocast(device, at):
                backbone(images)
            wait_for(device)
            times[name].append(time.perf_counter() - started)
    backbone.zero_grad(set_to_none=True)
    training, encoding, reading = (statistics.median(t[1:]) / count for t in times.values())
    return ImageSeconds(training * VIEWS_SHARE, encoding, reading)


def _timed_images(settings: RunSettings, size: int, processes: int) -> int:
    """Images of a timed step: no more than a real one has, and what any machine has room for."""
    first = getattr(settings, find_arm(settings.method).stages[0])
    own: int = math.ceil(first.batch_size / processes)
    images: int = min(own, getattr(first, "micro_batch", None) or own) * settings.views.count
    fits = PIXELS_ON_A_PROCESSOR // size**2 if settings.device == "cpu" else TIMED_IMAGES
    return max(1, min(TIMED_IMAGES, images, fits))


def _peak_memory(device: torch.device) -> int | None:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":  # has no `resource`
        return None
    resource = importlib.import_module("resource")
    peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def describe(plan: Forecast) -> list[str]:
    """The plan in words, a line each."""
    lines = [f"Parameters: {plan.parameters:,} in the backbone, {plan.trained:,} of them trained"]
    for stage in plan.stages:
        work = f"{stage.epochs} epochs, {stage.steps} steps" if stage.steps else "solved at once"
        lines.append(f"Stage {stage.name}: {work}, about {in_words(stage.seconds)}")
    if plan.processes > 1:
        lines.append(f"Processes: {plan.processes}, each with its share of every batch")
    if plan.memory_bytes is not None:
        each = " in each process" if plan.processes > 1 else ""
        size = f"{plan.memory_bytes / 1e9:.1f} GB"
        lines.append(f"Memory: {size}{each} in the timed steps, of {TIMED_IMAGES} images at most")
    rest = plan.seconds - sum(stage.seconds for stage in plan.stages)
    lines.append(f"Test images, measures and report: about {in_words(rest)}")
    lines.append(f"Time: about {in_words(plan.seconds)} in all, from timed steps")
    return lines


def shorten(settings: RunSettings, plan: Forecast, limit: float) -> RunSettings:
    """Settings whose encoder epochs fit a run of ``plan`` into ``limit`` seconds.

    Raises:
        InputError: not even one epoch fits.
    """
    encoder = [stage for stage in plan.stages if stage.name != "head"]
    fixed = plan.seconds - sum(stage.seconds for stage in encoder)
    if plan.seconds <= limit or not encoder:
        return settings
    share = (limit - fixed) / sum(stage.seconds for stage in encoder)
    changes = {}
    for stage in encoder:
        epochs = math.floor(stage.epochs * share)
        if epochs < 1:
            raise InputError(
                f"--max-time leaves {in_words(limit)}; one epoch and the evaluation need about "
                f"{in_words(fixed + stage.seconds / stage.epochs)}. Allow more time, take fewer "
                f"images with --shots, or use --method linear-probe."
            )
        section = getattr(settings, stage.name)
        changes[stage.name] = section.model_copy(update={"epochs": epochs})
    return settings.model_copy(update=changes)


def in_words(seconds: float) -> str:
    """``75`` -> ``1 min 15 s``."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"
