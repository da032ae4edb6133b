"""The stages of an arm, each made from the settings and run on the backbone, in place."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from lacvit.arms import find_arm
from lacvit.backbones import Backbone, load_backbone
from lacvit.config import HeadInit, OptimizerSettings, RunSettings
from lacvit.data.batches import Batch, DecodedImages, ViewPlan, view_batches
from lacvit.data.views import Augmentation
from lacvit.distributed import from_main, rank_of, size_of
from lacvit.planning import crops_of
from lacvit.report.plots import contact_sheet
from lacvit.run_folder import RunFolder, write_bytes
from lacvit.shared import Shared
from lacvit.training.adapters import merge_adapters
from lacvit.training.cached_gradients import refuse_batch_norm
from lacvit.training.contrastive import ContrastiveStage
from lacvit.training.cross_entropy import CrossEntropyStage
from lacvit.training.head import (
    EXACT_ITERATIONS,
    ExactHead,
    HeadStage,
    LabelledFeatures,
    Settled,
    fit_exact_head,
    fit_on_both,
)
from lacvit.training.heads import Heads, fresh_head, head_from
from lacvit.training.joint import JointStage
from lacvit.training.logs import Progress
from lacvit.training.loop import LoopPlan, Stage, epoch_seed, run_stage
from lacvit.training.material import Compute, LabelledImages, encode_images
from lacvit.training.neighbours import choose_neighbours, neighbour_heads
from lacvit.training.trainable import prepare

SHEET_IMAGES = 6


@dataclass(frozen=True)
class Run:
    """All that the stages of one run share.

    ``encoded`` keeps, by stage, the training and validation features that a head was solved on
    there, so that the encoder of the stage ``head`` need not encode them again.
    """

    settings: RunSettings
    folder: RunFolder
    train: LabelledImages
    validation: LabelledImages
    compute: Compute
    classes: int
    progress: Progress
    shared: Shared
    settled: Settled | None = None
    encoded: dict[str, tuple[LabelledFeatures, LabelledFeatures]] = field(default_factory=dict)


def load_chosen(settings: RunSettings) -> Backbone:
    """The backbone that the settings name, with its pretrained weights.

    In evaluation mode: what is timed or tried before training must not move running statistics.
    """
    chosen = settings.backbone
    return load_backbone(chosen.spec, image_size=chosen.image_size, pool=chosen.pool).eval()


def train_stages(run: Run, backbone: Backbone) -> Heads:
    """Run the arm's stages in order on the backbone, in place; gives the head."""
    prepare(backbone, run.settings.backbone, seed=run.settings.seed)
    chunks = [section.micro_batch for section in (run.settings.contrastive, run.settings.joint)]
    if run.compute.group is not None or any(chunks):
        refuse_batch_norm(backbone)
    heads: Heads | None = None
    run.folder.update_status(head_strengths={})
    for name in find_arm(run.settings.method).stages:
        run.folder.update_status(stage=name)
        # Fresh weights are a function of the seed and the stage, whatever ran before.
        torch.manual_seed(epoch_seed(run.settings.seed, f"{name} weights", 0))
        heads = STAGES[name](run, backbone)
    merge_adapters(backbone)
    assert heads is not None, "the last stage of every arm gives a head"
    return heads


def _contrastive(run: Run, backbone: Backbone) -> None:
    settings = run.settings.contrastive
    views = _shown_views(run, backbone, run.settings.views.count, settings)
    stage = ContrastiveStage(
        backbone,
        run.train,
        run.validation,
        settings,
        views,
        run.compute,
    )
    _train(run, stage, settings, int(settings.epochs))


def _cross_entropy(run: Run, backbone: Backbone) -> Heads:
    settings = run.settings.cross_entropy
    head = _first_head(run, backbone, "cross_entropy", settings.head_init)
    views = _shown_views(run, backbone, 1, settings)
    stage = CrossEntropyStage(
        backbone, head, run.train, run.validation, settings, views, run.compute
    )
    _train(run, stage, settings, int(settings.epochs))
    return Heads(head, head)


def _joint(run: Run, backbone: Backbone) -> Heads:
    settings = run.settings.joint
    head = _first_head(run, backbone, "joint", settings.head_init)
    views = _shown_views(run, backbone, run.settings.views.count, settings)
    stage = JointStage(backbone, head, run.train, run.validation, settings, views, run.compute)
    _train(run, stage, settings, int(settings.epochs))
    return Heads(head, head)


def _first_head(run: Run, backbone: Backbone, stage: str, init: HeadInit) -> nn.Linear:
    """What the head is before it trains with the backbone in ``stage``."""
    if init == "random":
        return fresh_head(backbone.dim, run.classes).to(run.compute.device)
    return _solved(run, solve_head(run, backbone, stage))


def _solved(run: Run, solved: ExactHead) -> nn.Linear:
    head = head_from(torch.from_numpy(solved.weight_CD), torch.from_numpy(solved.bias_C))
    return head.to(run.compute.device)


def _head(run: Run, backbone: Backbone) -> Heads:
    if run.settings.head.solver == "sgd":
        return _head_by_sgd(run, backbone)
    solve = _neighbour_head if run.settings.head.solver == "knn" else _exact_head
    run.progress.begin("head", epochs=1, done=0)
    try:
        return solve(run, backbone)
    finally:
        run.progress.end()


def _exact_head(run: Run, backbone: Backbone) -> Heads:
    settings = run.settings.head
    solved = solve_head(run, backbone, "head")
    judged = final = _solved(run, solved)
    if settings.fit_on == "all":
        train, validation = run.encoded["head"]
        both = from_main(
            lambda: fit_on_both(train, validation, solved, iterations=int(settings.epochs)),
            run.compute.group,
        )
        final = _solved(run, both)
    best = next(row for row in solved.tried if row["strength"] == solved.strength)
    _keep_tried(run, solved.tried, best)
    return Heads(final, judged)


def _keep_tried(run: Run, tried: Sequence[dict[str, float]], best: dict[str, float]) -> None:
    folder = run.folder.stage("head")
    folder.drop_metrics_from(0)
    for index, row in enumerate(tried):
        folder.append_metrics({"epoch": index, **row, "chosen": row is best})
    run.progress.epoch(0, best)


def _neighbour_head(run: Run, backbone: Backbone) -> Heads:
    splits = run.encoded["head"] = _both(run, backbone, "head")
    found = from_main(lambda: choose_neighbours(*splits, classes=run.classes), run.compute.group)
    _keep_tried(run, found.tried, next(row for row in found.tried if row["k"] == found.k))
    both = run.settings.head.fit_on == "all"
    return neighbour_heads(*splits, found, both=both, device=run.compute.device)


def _head_by_sgd(run: Run, backbone: Backbone) -> Heads:
    settings, folder = run.settings.head, run.folder.stage("head")
    views = view_plan(run, backbone, views=1, batch_size=settings.batch_size)
    # As in the paper's code, the head's live views are cropped and flipped, not recoloured.
    plain = replace(views.augmentation, jitter_probability=0.0, grey_probability=0.0)
    head = fresh_head(backbone.dim, run.classes).to(run.compute.device)
    stage = HeadStage(
        backbone,
        head,
        run.train,
        run.validation,
        settings,
        replace(views, augmentation=plain),
        run.compute,
        crops_of(run.settings),
    )
    plan = LoopPlan(
        epochs=int(settings.epochs),
        optimizer="sgd",
        lr=settings.lr,
        warmup=0.0,
        clip_norm=0.0,
        seed=run.settings.seed,
    )
    run_stage(stage, plan, folder, run.progress, run.compute.group)
    return Heads(head, head)


# What each stage's name in an arm stands for.
STAGES: Mapping[str, Callable[[Run, Backbone], Heads | None]] = {
    "contrastive": _contrastive,
    "cross_entropy": _cross_entropy,
    "joint": _joint,
    "head": _head,
}


def solve_head(run: Run, backbone: Backbone, stage: str) -> ExactHead:
    """The exact linear head on the backbone as it is when ``stage`` begins.

    One process solves it for all.
    """
    settings, settled = run.settings.head, run.settled
    iterations = int(settings.epochs) if settings.solver == "exact" else EXACT_ITERATIONS
    train, validation = run.encoded[stage] = _both(run, backbone, stage)
    solved = from_main(
        lambda: fit_exact_head(
            train,
            validation,
            classes=run.classes,
            strengths=(settled.strengths[stage],) if settled else settings.strengths,
            iterations=iterations,
        ),
        run.compute.group,
    )
    chosen = run.folder.status()["head_strengths"] | {stage: solved.strength}
    run.folder.update_status(head_strengths=chosen)
    return solved


def _both(run: Run, backbone: Backbone, stage: str) -> tuple[LabelledFeatures, LabelledFeatures]:
    train, validation = (
        LabelledFeatures(_features(run, backbone, split.images, stage), split.labels_N)
        for split in (run.train, run.validation)
    )
    return train, validation


def _features(run: Run, backbone: Backbone, images: DecodedImages, stage: str) -> np.ndarray:
    """Features as ``stage`` finds them; before the first one they are every such run's."""
    first = find_arm(run.settings.method).stages[0] == stage
    crops = crops_of(run.settings) if stage == "head" else None
    compute = run.compute.in_float32
    if first and run.settings.backbone.trainable != "lora":  # adapters stand in its layers' place
        return run.shared.untouched_features(images, backbone, compute, lambda: backbone, crops)
    return encode_images(images, backbone, compute, crops)


def _train(run: Run, stage: Stage[Any], settings: OptimizerSettings, epochs: int) -> None:
    assert settings.lr != "auto"
    plan = LoopPlan(
        epochs=epochs,
        optimizer=settings.optimizer,
        lr=settings.lr,
        warmup=settings.warmup,
        clip_norm=settings.clip_norm,
        seed=run.settings.seed,
    )
    run_stage(stage, plan, run.folder.stage(stage.name), run.progress, run.compute.group)


def _shown_views(run: Run, backbone: Backbone, views: int, settings: OptimizerSettings) -> ViewPlan:
    """How an encoder's stage draws its views; a few of them go into the run's figures."""
    plan = view_plan(run, backbone, views=views, batch_size=settings.batch_size)
    _write_sheet(run, backbone, plan)
    return plan


def _write_sheet(run: Run, backbone: Backbone, views: ViewPlan) -> None:
    """A few images beside the views that the network is shown of them."""
    path = run.folder.figures / "views.png"
    if path.exists() or run.folder.read_only:
        return
    shown = replace(views, views=max(4, views.views), batch_size=SHEET_IMAGES, rank=0, world_size=1)
    batch: Batch = next(iter(view_batches(run.train.images, run.train.labels_N, shown, 0)))
    spec = backbone.input_spec
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (spec.mean, spec.std))
    pixels = (batch.views_BVCHW.cpu() * std + mean).clamp(0, 1).mul(255).round().to(torch.uint8)
    rows = [
        [
            np.asarray(run.train.images.records.read(int(index))),
            *views_V.permute(0, 2, 3, 1).numpy(),
        ]
        for index, views_V in zip(batch.indices_B, pixels, strict=True)
    ]
    buffer = io.BytesIO()
    contact_sheet(rows).save(buffer, format="PNG")
    write_bytes(path, buffer.getvalue())


def view_plan(run: Run, backbone: Backbone, *, views: int, batch_size: int) -> ViewPlan:
    """How a stage draws its views."""
    strengths = run.settings.views.model_dump(exclude={"count"})
    return ViewPlan(
        spec=backbone.input_spec,
        augmentation=Augmentation(**strengths),
        views=views,
        batch_size=batch_size,
        seed=run.settings.seed,
        device=run.compute.device,
        workers=run.compute.workers,
        rank=rank_of(run.compute.group),
        world_size=size_of(run.compute.group),
    )
