"""What a training step costs over the bare encoder, and what cached features save.

Command:  python benchmarks/step.py [--quick]
Measures, side by side in one process, medians over interleaved rounds:
  - a stage-1 step (B = 128 images, 2 views each, as the loop runs it: views, projection head,
    loss, backward, clipping, optimiser) against forward + backward + optimiser of the bare
    encoder on the same 2B images, with and without the making of the views, which peers leave to
    worker processes; bar: at most 1.05 times;
  - stage 2: live encoding for 100 epochs against the exact head on features encoded once (the
    default), and against 100 epochs of SGD on them, for pico and for an encoder of usual size
    (ViT-S, 224 pixels, random weights); bar: at least 80 times less. A live epoch of ViT-S is
    timed once and counted 100 times. Pico cannot reach the bar: encoding a fifth more images to
    validate bounds it at about 83, and its encoding takes no longer than fitting the head;
  - the share of a stage-1 step spent waiting for data;
  - float32 against bfloat16 for that step on this device.
Writes benchmarks/results/step.csv (--quick: nothing, unless --output says where).
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from provenance import Row, add_output, output_of, write_rows
from sklearn.datasets import load_digits

from lacvit.backbones import load_backbone
from lacvit.backbones.backbone import Architecture, Backbone, Origin
from lacvit.backbones.timm_models import build
from lacvit.config import ContrastiveSettings, HeadSettings
from lacvit.data.batches import Batch, ViewPlan, hold, view_batches
from lacvit.data.records import records_from_arrays
from lacvit.data.views import Augmentation
from lacvit.devices import faster_precision
from lacvit.input_spec import InputSpec
from lacvit.training.contrastive import ContrastiveStage
from lacvit.training.head import HeadStage, LabelledFeatures, fit_exact_head
from lacvit.training.heads import fresh_head
from lacvit.training.material import Compute, LabelledImages, encode_images
from lacvit.training.optim import build_optimizer, clip_gradients, set_learning_rates

RESULTS = Path(__file__).parent / "results" / "step.csv"
BATCH, VIEWS, HEAD_EPOCHS = 128, 2, 100


def digits(count: int) -> LabelledImages:
    """Digits as 32 x 32 colour images: a real, decoded, held data set."""
    data = load_digits()
    grey = np.kron(data.images[:count], np.ones((4, 4))) * (255 / 16)
    images = np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)
    names = tuple(map(str, range(10)))
    records = records_from_arrays(list(images), data.target[:count], names)
    return LabelledImages(hold(records), records.labels)


def median_seconds(
    first: Callable[[], object], second: Callable[[], object], rounds: int
) -> tuple[float, float]:
    """Medians of two calls made in turn, after one of each that is not counted."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 1):
        for call, kept in zip((first, second), times, strict=True):
            started = time.perf_counter()
            call()
            kept.append(time.perf_counter() - started)
    return statistics.median(times[0][1:]), statistics.median(times[1][1:])


def step_rows(rounds: int) -> list[Row]:
    """The stage-1 step against the bare encoder's."""
    train = digits(BATCH * 4)
    backbone, bare = load_backbone("pico"), load_backbone("pico")
    compute = Compute(torch.device("cpu"), "fp32", 256, 1)
    colour = {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.05}
    augmentation = Augmentation(crop_scale=(0.35, 1.0), jitter_probability=0.8, **colour)
    plan = ViewPlan(backbone.input_spec, augmentation, views=VIEWS, batch_size=BATCH)
    stage = ContrastiveStage(backbone, train, train, ContrastiveSettings(), plan, compute)
    optimizer = build_optimizer(stage.parameter_groups(), "adamw")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    bare_optimizer = torch.optim.AdamW(bare.parameters(), lr=1e-4, fused=True)
    stage.begin_epoch()
    bare.train()
    batches = endless(stage)
    images = next(batches).views_BVCHW.flatten(0, 1)
    waits: list[float] = []

    def whole() -> None:
        asked = time.perf_counter()
        batch = next(batches)
        waits.append(time.perf_counter() - asked)
        set_learning_rates(optimizer, 1e-4)
        optimizer.zero_grad()
        loss, _ = stage.step(batch)
        loss.backward()
        clip_gradients(parameters, 3.0)
        optimizer.step()

    def encoder_alone() -> None:
        bare_optimizer.zero_grad()
        bare(images).sum().backward()
        bare_optimizer.step()

    ours, floor = median_seconds(whole, encoder_alone, rounds)
    views_only, _ = median_seconds(
        lambda: next(view_batches(train.images, train.labels_N, plan, 0)), lambda: None, rounds
    )
    _, seconds = faster_precision(encoder_alone, torch.device("cpu"))
    waiting = statistics.median(waits)
    return [
        Row("stage-1 step with its views", "ms", 1e3 * ours),
        Row("bare encoder step, same images", "ms", 1e3 * floor),
        Row("stage-1 step with its views / bare encoder step", "ratio", ours / floor),
        Row("stage-1 step without them / bare encoder step", "ratio", (ours - waiting) / floor),
        Row("making the views of one batch, alone", "ms", 1e3 * views_only),
        Row("share of the step waiting for data", "share", waiting / ours),
        Row("bfloat16 / float32, bare encoder step", "ratio", seconds["bf16"] / seconds["fp32"]),
    ]


def endless(stage: ContrastiveStage) -> Iterator[Batch]:
    """The stage's batches, epoch after epoch."""
    for epoch in itertools.count():
        yield from stage.batches(epoch)


def vit_small() -> Backbone:
    """ViT-S of patch 16 with random weights: time does not depend on them."""
    return build(
        Architecture(source="timm", name="vit_small_patch16_224", arguments={}),
        InputSpec(size=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        Origin(spec="random", format="timm"),
    )


def head_rows(
    backbone: Backbone, name: str, count: int, live_epochs: int, rounds: int
) -> list[Row]:
    """Stage 2 on ``count`` images and a fifth as many to validate; live is timed on few epochs."""
    train, validation = digits(count), digits(count // 5)
    compute = Compute(torch.device("cpu"), "fp32", 256, 1)
    plan = ViewPlan(backbone.input_spec, Augmentation(crop_scale=(0.35, 1.0)), 1, BATCH)

    def sgd(features: str, epochs: int) -> float:
        started = time.perf_counter()
        settings = HeadSettings(solver="sgd", batch_size=BATCH, features=features)
        head = fresh_head(backbone.dim, 10)
        stage = HeadStage(backbone, head, train, validation, settings, plan, compute)
        optimizer = build_optimizer(stage.parameter_groups(), "sgd")
        for epoch in range(epochs):
            stage.begin_epoch()
            for batch in stage.batches(epoch):
                optimizer.zero_grad()
                loss, _ = stage.step(batch)
                loss.backward()
                set_learning_rates(optimizer, 0.1)
                optimizer.step()
        return time.perf_counter() - started

    def exact() -> float:
        started = time.perf_counter()
        encoded = [
            LabelledFeatures(encode_images(split.images, backbone, compute), split.labels_N)
            for split in (train, validation)
        ]
        strengths = HeadSettings().strengths
        fit_exact_head(encoded[0], encoded[1], classes=10, strengths=strengths)
        return time.perf_counter() - started

    exact_seconds = statistics.median(exact() for _ in range(rounds))
    cached = statistics.median(sgd("cached", HEAD_EPOCHS) for _ in range(rounds))
    validating = sgd("live", 0)
    live = HEAD_EPOCHS * (sgd("live", live_epochs) - validating) / live_epochs + validating
    what = f"{name}: stage 2 on {count} images"
    return [
        Row(f"{what}, exact head on cached features", "s", exact_seconds),
        Row(f"{what}, {HEAD_EPOCHS} epochs of SGD on cached features", "s", cached),
        Row(f"{what}, {HEAD_EPOCHS} epochs of SGD on live images", "s", live),
        Row(f"{name}: live / exact head on cached features", "ratio", live / exact_seconds),
        Row(f"{name}: live / SGD on cached features", "ratio", live / cached),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_output(parser, RESULTS)
    options = parser.parse_args()
    quick = options.quick
    rows = step_rows(rounds=5 if quick else 60)
    pico = load_backbone("pico")
    rows += head_rows(pico, "pico", 512 if quick else 1797, 2 if quick else 8, rounds=3)
    rows += head_rows(vit_small(), "ViT-S", 64 if quick else 256, live_epochs=1, rounds=1)
    write_rows(output_of(options, RESULTS), rows)


if __name__ == "__main__":
    main()
