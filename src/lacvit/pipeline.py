"""One run from images to report: the arrows of docs/method.md, in their order.

Everything before ``begin`` only reads, so bad input leaves nothing half-written. The test split
is first opened in :func:`lacvit.outcome.finish`, after every choice is made.

Several processes may train one model (:mod:`lacvit.distributed`): the first decides, speaks and
writes, and all read the images and train.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lacvit import planning
from lacvit.backbones import Backbone
from lacvit.config import RunSettings
from lacvit.data.records import ImageRecords
from lacvit.data.splits import Splits, split_manifest
from lacvit.devices import faster_precision, find_device
from lacvit.distributed import Group, from_main, rank_of, start, together
from lacvit.errors import InputError
from lacvit.forecast import describe as describe_forecast
from lacvit.forecast import forecast, in_words, shorten
from lacvit.outcome import TrainResult, finish, finish_on_validation, read_result
from lacvit.reading import data_manifest, read_splits
from lacvit.report.page import write_report
from lacvit.run_folder import RunFolder, begin, inspect, read_json
from lacvit.shared import Shared
from lacvit.staging import Run, load_chosen, train_stages
from lacvit.training.logs import Progress, Silence, StatusProgress
from lacvit.training.material import Compute, LabelledImages

__all__ = ["Request", "TrainResult", "choose_backbone", "plan", "prepare", "settle", "train"]


@dataclass(frozen=True)
class Request:
    """What was asked for, beside the settings."""

    output: Path | None = None
    overwrite: bool = False
    max_seconds: float | None = None
    report: bool = True  # programs that make hundreds of runs leave it to `lacvit report`
    test: bool = True  # else the run is judged on validation, and no test image is looked at


def train(
    settings: RunSettings,
    request: Request = Request(),
    *,
    progress: Progress | None = None,
    shared: Shared | None = None,
) -> TrainResult:
    """Train an arm on a set of images, or go on with the same run where it was left.

    Runs on the same images that are given the same ``shared`` read, decode and encode them once.

    Raises:
        InputError: anything that the user can mend; nothing was written before the data, the
            backbone and the folder were found sound.
        PeerStopped: another process of the same run raised something, and says what.
    """
    group, device = start(settings.device)
    shared = shared or Shared()
    started = time.monotonic()
    main = rank_of(group) == 0
    progress = progress if main and progress is not None else Silence()
    asked = planning.request_of(settings)
    output = from_main(lambda: request.output or planning.earlier_output(settings, asked), group)
    splits = None
    if output is None:  # its name waits for the backbone, which `auto` chooses for the images
        splits = together(partial(shared.splits, settings, progress), group)
        settings = from_main(partial(_settle_backbone, settings, splits, progress), group)
        output = planning.default_output(settings)
    state = from_main(
        partial(inspect, output, asked, planning.DEFAULTS, overwrite=request.overwrite), group
    )
    if state == "finished":
        return from_main(partial(_finished, output, request, progress), group)
    splits = splits or together(partial(shared.splits, settings, progress), group)
    folder = RunFolder(output, read_only=not main)
    if state == "new":
        settings = settings.model_copy(update={"device": device})
        settings = from_main(partial(_settle_backbone, settings, splits, progress), group)
        backbone = together(partial(load_chosen, settings), group)
        settings = from_main(
            partial(_begin, output, asked, settings, backbone, splits, request, progress), group
        )
    else:
        settings = from_main(partial(_earlier_settings, folder, device), group)
        backbone = together(partial(load_chosen, settings), group)
        progress.message(f"Going on with the run in {output}")
    if state == "resumed" or group is not None:  # processes may see other images than the first
        together(partial(_check_same_images, folder, splits), group)
    said = _notices(settings, splits, asked)
    folder.update_status(notices=said, method=settings.method)
    for text in (*planning.reading_of(backbone), *said):
        progress.message(text)
    watcher = StatusProgress(folder, progress, started)
    run = together(partial(prepare, settings, folder, splits, watcher, group, shared), group)
    heads = train_stages(run, backbone.to(run.compute.device))
    tested = request.test and len(splits.test) > 0
    result = (finish if tested else finish_on_validation)(run, backbone, heads, splits)
    from_main(partial(_close, folder, request, watcher.seconds()), group)
    return result


def _finished(output: Path, request: Request, progress: Progress) -> TrainResult:
    progress.message(f"This run is finished already; nothing was trained. It is in {output}")
    if request.report and not RunFolder(output).report.exists():
        write_report(output)  # a kill came between the last figure and the page
    return read_result(RunFolder(output))


def _begin(
    output: Path,
    asked: Mapping[str, object],
    settings: RunSettings,
    backbone: Backbone,
    splits: Splits,
    request: Request,
    progress: Progress,
) -> RunSettings:
    """The folder of a new run with its plan in it; gives the settings without ``auto``."""
    settings = settle(settings, backbone, splits, request, progress)
    folder = begin(output, asked)
    planning.write_plan(folder, settings, data_manifest(settings, splits))
    return settings


def _earlier_settings(folder: RunFolder, device: str) -> RunSettings:
    """What a run was resolved to, on the device that there is now."""
    earlier = RunSettings.model_validate(folder.resolved_settings())
    return earlier.model_copy(update={"device": str(find_device(device))})


def _close(folder: RunFolder, request: Request, seconds: float) -> None:
    folder.update_status(stage="done", finished=True, seconds=seconds)
    if request.report:
        write_report(folder.path)


def _settle_backbone(settings: RunSettings, splits: Splits, progress: Progress) -> RunSettings:
    """``--backbone auto`` resolved for the images, and the choice told."""
    settled, said = planning.settle_backbone(settings, _shorter_side(splits.train))
    for text in said:
        progress.message(text)
    return settled


def choose_backbone(settings: RunSettings, progress: Progress, shared: Shared) -> dict[str, str]:
    """What ``--backbone auto`` comes to for the images that the settings name: spec and words.

    Raises:
        InputError: as :func:`train`.
    """
    side = _shorter_side(shared.splits(settings, progress).train)
    settled, said = planning.settle_backbone(settings, side)
    words = " ".join([*said, *planning.notices(settled, side)])
    progress.message(words)
    return {"spec": settled.backbone.spec, "words": words}


def _check_same_images(folder: RunFolder, splits: Splits) -> None:
    """A run must not go on with other images than it began with."""
    if read_json(folder.data)["fingerprint"] != split_manifest(splits)["fingerprint"]:
        raise InputError(
            f"The images have changed since the run in {folder.path} began. "
            f"Start again with --overwrite, or choose another folder with --output."
        )


def _notices(settings: RunSettings, splits: Splits, asked: Mapping[str, object]) -> list[str]:
    automatic = asked["backbone.spec"] == "auto"
    side = _shorter_side(splits.train)
    said = [*splits.notices, *planning.notices(settings, side, automatic=automatic)]
    if splits.held_out and not len(splits.test):
        said.append(
            "The held-out classes are not measured, since no image tests. Leave data.test_fraction "
            "out to have them measured."
        )
    return said


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
        inspect(output, asked, planning.DEFAULTS, overwrite=request.overwrite)
    splits = read_splits(settings, progress)
    settings = _settle_backbone(settings, splits, progress)
    output = output or planning.default_output(settings)
    backbone = load_chosen(settings)
    settings = settle(settings, backbone, splits, request, progress)
    said = _notices(settings, splits, asked)
    counts = ", ".join(f"{len(records)} {name}" for name, records in splits.items())
    return [
        f"Method: {settings.method}, backbone {settings.backbone.spec}, on {settings.device} "
        f"in {settings.precision}",
        f"Images: {counts}; {len(splits.class_names)} classes",
        *describe_forecast(forecast(settings, backbone, splits)),
        f"Run folder: {output}",
        *planning.reading_of(backbone),
        *said,
    ]


def settle(
    settings: RunSettings,
    backbone: Backbone,
    splits: Splits,
    request: Request,
    progress: Progress,
) -> RunSettings:
    """Every ``auto`` resolved, and the schedule shortened to the time allowed."""
    settings, said = planning.settle_method(settings, backbone, len(splits.train))
    for text in said:
        progress.message(text)
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


def _own_device(name: str) -> torch.device:
    """The device by its number: a new thread's "cuda" is the first, whatever this process has."""
    device = torch.device(name)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def prepare(
    settings: RunSettings,
    folder: RunFolder,
    splits: Splits,
    progress: Progress,
    group: Group,
    shared: Shared,
) -> Run:
    workers = int(settings.workers)
    assert settings.precision != "auto"

    def labelled(records: ImageRecords) -> LabelledImages:
        return LabelledImages(shared.images(records, workers), records.labels)

    return Run(
        settings=settings,
        folder=folder,
        train=labelled(splits.train),
        validation=labelled(splits.validation),
        compute=Compute(
            device=_own_device(settings.device),
            precision=settings.precision,
            evaluation_batch=settings.evaluation.batch_size,
            workers=workers,
            group=group,
        ),
        classes=len(splits.class_names),
        progress=progress,
        shared=shared,
    )
