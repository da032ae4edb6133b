"""One run from images to report: the arrows of docs/method.md, in their order.

Everything before ``begin`` only reads, so bad input leaves nothing half-written. The test split
is first opened in :func:`_finish`, after every choice is made.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lacvit import planning
from lacvit.arms import find_arm
from lacvit.backbones import Backbone, load_backbone
from lacvit.config import RunSettings
from lacvit.data.batches import DecodedImages, hold
from lacvit.data.records import ImageRecords
from lacvit.data.splits import Splits, split_manifest
from lacvit.devices import faster_precision
from lacvit.errors import InputError
from lacvit.evaluation.evaluate import Evaluation, evaluate_records
from lacvit.evaluation.files import write_evaluation, write_features
from lacvit.forecast import describe as describe_forecast
from lacvit.forecast import forecast, in_words, shorten
from lacvit.model import Classifier
from lacvit.model_card import model_card
from lacvit.reading import data_manifest, read_splits
from lacvit.report.page import write_report
from lacvit.run_folder import RunFolder, begin, inspect, read_json, write_json
from lacvit.staging import Run, train_stages
from lacvit.training.logs import Progress, Silence
from lacvit.training.material import Compute, LabelledImages, encode_images


@dataclass(frozen=True)
class TrainResult:
    """What a run came to."""

    run_folder: Path
    accuracy: float  # Accuracy@1 on the test split, 0 to 1
    interval: tuple[float, float]  # its 95 % Wilson interval
    images: int  # in the test split
    notices: tuple[str, ...] = ()


class StatusProgress:
    """Keeps ``status.json`` at the epoch, and tells the real watcher everything."""

    def __init__(self, folder: RunFolder, watcher: Progress) -> None:
        self._folder, self._watcher = folder, watcher

    def message(self, text: str) -> None:
        self._watcher.message(text)

    def begin(self, stage: str, *, epochs: int, done: int) -> None:
        self._folder.update_status(stage=stage, epoch=done, epochs=epochs)
        self._watcher.begin(stage, epochs=epochs, done=done)

    def step(self, share: float) -> None:
        self._watcher.step(share)

    def epoch(self, epoch: int, scalars: Mapping[str, float]) -> None:
        self._folder.update_status(epoch=epoch + 1)
        self._watcher.epoch(epoch, scalars)

    def end(self) -> None:
        self._watcher.end()


@dataclass(frozen=True)
class Request:
    """What was asked for, beside the settings."""

    output: Path | None = None
    overwrite: bool = False
    max_seconds: float | None = None
    report: bool = True  # programs that make hundreds of runs leave it to `lacvit report`


def train(
    settings: RunSettings,
    request: Request = Request(),
    *,
    progress: Progress | None = None,
) -> TrainResult:
    """Train an arm on a set of images, or go on with the same run where it was left.

    Raises:
        InputError: anything that the user can mend; nothing was written before the data, the
            backbone and the folder were found sound.
    """
    progress = progress or Silence()
    started = time.monotonic()
    asked = planning.request_of(settings)
    output = request.output or planning.earlier_output(settings, asked)
    splits = None
    if output is None:  # its name waits for the backbone, which `auto` chooses for the images
        splits = read_splits(settings, progress)
        settings = _settle_backbone(settings, splits, progress)
        output = planning.default_output(settings)
    state = inspect(output, asked, overwrite=request.overwrite)
    if state == "finished":
        progress.message(f"This run is finished already; nothing was trained. It is in {output}")
        if request.report and not RunFolder(output).report.exists():
            write_report(output)  # a kill came between the last figure and the page
        return read_result(RunFolder(output))
    splits = splits or read_splits(settings, progress)
    if state == "new":
        settings = _settle_backbone(settings, splits, progress)
        backbone = _load_backbone(settings)
        settings = _settle(settings, backbone, splits, request, progress)
        folder = begin(output, asked)
        planning.write_plan(folder, settings, data_manifest(settings, splits))
    else:
        folder = RunFolder(output)
        settings = RunSettings.model_validate(folder.resolved_settings())
        backbone = _load_backbone(settings)
        _check_same_images(folder, splits)
        progress.message(f"Going on with the run in {output}")
    said = [*splits.notices, *planning.notices(settings, _shorter_side(splits.train))]
    folder.update_status(notices=said, method=settings.method)
    for text in said:
        progress.message(text)
    run = _prepare(settings, folder, splits, StatusProgress(folder, progress))
    head = train_stages(run, backbone.to(run.compute.device))
    result = _finish(run, backbone, head, splits)
    folder.update_status(stage="done", finished=True, seconds=round(time.monotonic() - started, 1))
    if request.report:
        write_report(folder.path)
    return result


def _settle_backbone(settings: RunSettings, splits: Splits, progress: Progress) -> RunSettings:
    """``--backbone auto`` resolved for the images, and the choice told."""
    settled, said = planning.settle_backbone(settings, _shorter_side(splits.train))
    for text in said:
        progress.message(text)
    return settled


def _load_backbone(settings: RunSettings) -> Backbone:
    chosen = settings.backbone
    return load_backbone(chosen.spec, image_size=chosen.image_size, pool=chosen.pool)


def _check_same_images(folder: RunFolder, splits: Splits) -> None:
    """A run must not go on with other images than it began with."""
    if read_json(folder.data)["fingerprint"] != split_manifest(splits)["fingerprint"]:
        raise InputError(
            f"The images have changed since the run in {folder.path} began. "
            f"Start again with --overwrite, or choose another folder with --output."
        )


def _shorter_side(records: ImageRecords) -> int:
    sides = [min(records.read(i).shape[:2]) for i in range(min(8, len(records)))]
    return int(np.median(sides))


def plan(settings: RunSettings, request: Request, progress: Progress) -> list[str]:
    """What :func:`train` would do, in words; nothing is written.

    Raises:
        InputError: as :func:`train`.
    """
    asked = planning.request_of(settings)
    output = request.output or planning.earlier_output(settings, asked)
    if output is not None:
        inspect(output, asked, overwrite=request.overwrite)
    splits = read_splits(settings, progress)
    settings = _settle_backbone(settings, splits, progress)
    output = output or planning.default_output(settings)
    backbone = _load_backbone(settings)
    settings = _settle(settings, backbone, splits, request, progress)
    said = [*splits.notices, *planning.notices(settings, _shorter_side(splits.train))]
    counts = ", ".join(f"{len(records)} {name}" for name, records in splits.items())
    return [
        f"Method: {settings.method}, backbone {settings.backbone.spec}, on {settings.device} "
        f"in {settings.precision}",
        f"Images: {counts}; {len(splits.class_names)} classes",
        *describe_forecast(forecast(settings, backbone, splits)),
        f"Run folder: {output}",
        *said,
    ]


def _settle(
    settings: RunSettings,
    backbone: Backbone,
    splits: Splits,
    request: Request,
    progress: Progress,
) -> RunSettings:
    """Every ``auto`` resolved, and the schedule shortened to the time allowed."""
    settings = planning.resolve(settings, backbone)
    settings = _settle_precision(settings, backbone, splits)
    if request.max_seconds is None:
        return settings
    whole = forecast(settings, backbone, splits)
    shorter = shorten(settings, whole, request.max_seconds)
    for stage in whole.stages:
        epochs = getattr(shorter, stage.name).epochs
        if stage.name != "head" and epochs != stage.epochs:
            progress.message(
                f"To end within {in_words(request.max_seconds)}, the {stage.name} stage has "
                f"{epochs} epochs instead of {stage.epochs}."
            )
    return shorter


def _settle_precision(settings: RunSettings, backbone: Backbone, splits: Splits) -> RunSettings:
    """``precision = "auto"`` by a measurement of the encoder's own training step."""
    if settings.precision != "auto":
        return settings
    device = torch.device(settings.device)
    size = backbone.input_spec.size
    # A processor that only imitates bfloat16 shows it on four images, in a fraction of a second.
    count = min(4 if device.type == "cpu" else 32, len(splits.train))
    images = torch.zeros(count, 3, size, size, device=device)
    backbone.to(device)

    def step() -> None:
        backbone(images).float().sum().backward()

    precision, _ = faster_precision(step, device)
    backbone.zero_grad(set_to_none=True)
    return settings.model_copy(update={"precision": precision})


def _prepare(settings: RunSettings, folder: RunFolder, splits: Splits, progress: Progress) -> Run:
    workers = int(settings.workers)
    assert settings.precision != "auto"
    return Run(
        settings=settings,
        folder=folder,
        train=_labelled(splits.train, workers),
        validation=_labelled(splits.validation, workers),
        compute=Compute(
            device=torch.device(settings.device),
            precision=settings.precision,
            evaluation_batch=settings.evaluation.batch_size,
            workers=workers,
        ),
        classes=len(splits.class_names),
        progress=progress,
    )


def _labelled(records: ImageRecords, workers: int) -> LabelledImages:
    return LabelledImages(hold(records, workers=workers), records.labels)


def _finish(run: Run, backbone: Backbone, head: nn.Linear, splits: Splits) -> TrainResult:
    """Read the test split, once, and write what the run came to."""
    run.folder.update_status(stage="evaluation")
    classifier = Classifier(backbone, head, splits.class_names)
    test_images = hold(splits.test, workers=run.compute.workers)
    features = {"untouched": _untouched_features(run, test_images)}
    encoder_stages = [name for name in find_arm(run.settings.method).stages if name != "head"]
    if encoder_stages:
        features[encoder_stages[-1]] = encode_images(test_images, backbone, run.compute)
    final = list(features.values())[-1]
    test = Evaluation(
        class_names=splits.class_names,
        paths=splits.test.paths,
        labels_N=splits.test.labels,
        probabilities_NC=classifier.probabilities(final),
    )
    validation = evaluate_records(classifier, splits.validation)
    metrics = {"test": test.summary(), "validation": validation.summary()}
    write_features(run.folder.features / "test.safetensors", features)
    write_evaluation(run.folder.evaluation, test)
    classifier.save(run.folder.model, card=model_card(run.settings, splits.class_names, metrics))
    write_json(run.folder.evaluation / "metrics.json", metrics)
    return read_result(run.folder)


def _untouched_features(run: Run, images: DecodedImages) -> np.ndarray:
    """What the pretrained encoder makes of the images, for the report's "before"."""
    untouched = _load_backbone(run.settings)
    return encode_images(images, untouched.to(run.compute.device), run.compute)


def read_result(folder: RunFolder) -> TrainResult:
    """The result of a finished run."""
    test = read_json(folder.evaluation / "metrics.json")["test"]
    low, high = test["interval"]
    notices = tuple(folder.status()["notices"])
    return TrainResult(folder.path, test["accuracy"], (low, high), test["images"], notices)
