"""One run from images to report: the arrows of docs/method.md, in their order.

Everything before ``begin`` only reads, so bad input leaves nothing half-written. The test split
is first opened in :func:`lacvit.outcome.finish`, after every choice is made.

Several processes may train one model (:mod:`lacvit.distributed`): the first decides, speaks and
writes, and all read the images and train.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from lacvit import naming, planning
from lacvit.arms import find_arm
from lacvit.backbones import Backbone
from lacvit.config import RunSettings, all_keys, flatten, make_settings
from lacvit.data.records import ImageRecords
from lacvit.data.splits import Splits, split_manifest
from lacvit.devices import find_device, memory_told, own_device
from lacvit.distributed import Group, from_main, rank_of, start, together
from lacvit.environment import environment
from lacvit.errors import InputError
from lacvit.forecast import describe as describe_forecast
from lacvit.forecast import forecast, in_words
from lacvit.lock import locked
from lacvit.outcome import TrainResult, finish, finish_on_validation, read_result
from lacvit.reading import changed_since, data_manifest
from lacvit.report.page import write_report
from lacvit.run_folder import RunFolder, State, begin, inspect, read_json, write_json, write_toml
from lacvit.settling import read_checked, settle, settle_backbone, shorter_side
from lacvit.shared import Shared
from lacvit.staging import Run, load_chosen, train_stages
from lacvit.training.head import Settled
from lacvit.training.logs import Progress, Silence, StatusProgress
from lacvit.training.material import Compute, LabelledImages

__all__ = ["Request", "TrainResult", "make_run", "plan", "train"]


@dataclass(frozen=True)
class Request:
    """What was asked for, beside the settings."""

    output: Path | None = None
    overwrite: bool = False
    max_seconds: float | None = None
    report: bool = True  # programs that make hundreds of runs leave it to `lacvit report`
    begun_as: Path | None = None  # a finished run with this one's first stage, which is taken over
    test: bool = True  # else the run is judged on validation, and no test image is looked at
    settled: Settled | None = None  # what validation would choose, where every image trains


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
    asked = naming.request_of(settings)
    output = from_main(lambda: request.output or naming.earlier_output(settings, asked), group)
    splits = None
    if output is None:  # its name waits for the backbone, which `auto` chooses for the images
        splits = together(partial(read_checked, settings, progress, shared), group)
        settings = from_main(partial(settle_backbone, settings, splits, progress), group)
        output = naming.default_output(settings)
    look = partial(inspect, output, asked, naming.DEFAULTS, overwrite=request.overwrite)
    state = from_main(look, group)
    if state == "finished":
        return from_main(partial(_finished, output, request, settings, progress), group)
    with ExitStack() as held, memory_told():
        reading = partial(read_checked, settings, progress, shared, begun=state == "resumed")
        splits = splits or together(reading, group)
        folder = RunFolder(output, read_only=not main)
        if state == "new":
            settings = settings.model_copy(update={"device": device})
            settings = from_main(partial(settle_backbone, settings, splits, progress), group)
            backbone = together(partial(load_chosen, settings), group)
            settled = partial(settle, settings, backbone, splits, request.max_seconds, progress)
            settings = from_main(partial(settled, chosen=request.settled is not None), group)
            from_main(partial(_begin, held, look, request, output, asked, settings, splits), group)
        else:
            from_main(partial(held.enter_context, locked(output)), group)
            settings = from_main(partial(_earlier, folder, settings, device), group)
            backbone = together(partial(load_chosen, settings), group)
            progress.message(_going_on(output, request))
        if state == "resumed" or group is not None:  # processes may see others than the first
            together(partial(_check_same_images, folder, splits), group)
        _tell(folder, settings, backbone, splits, asked, progress)
        watcher = StatusProgress(folder, progress, started)
        made = partial(make_run, settings, folder, splits, watcher, group, shared, request.settled)
        run = together(made, group)
        heads = train_stages(run, backbone.to(run.compute.device))
        close = finish if request.test and len(splits.test) else finish_on_validation
        result = close(run, backbone, heads, splits)
        from_main(partial(_close, folder, request, watcher.seconds()), group)
    return result


def _finished(
    output: Path, request: Request, settings: RunSettings, progress: Progress
) -> TrainResult:
    progress.message(f"This run is finished already; nothing was trained. It is in {output}")
    if changed := changed_since(settings.data, read_json(RunFolder(output).data)):
        progress.message(f"{changed} --overwrite trains anew on what there is.")
    if request.report and not RunFolder(output).report.exists():
        write_report(output)  # a kill came between the last figure and the page
    return read_result(RunFolder(output))


def _begin(
    held: ExitStack,
    look: Callable[[], State],
    request: Request,
    output: Path,
    asked: Mapping[str, object],
    settings: RunSettings,
    splits: Splits,
) -> None:
    """The folder of a new run, ours until ``held`` ends, with its plan and what it takes over.

    Raises:
        InputError: another process holds the folder, or has run there since it was looked at.
    """
    held.enter_context(locked(output))
    if look() != "new":
        raise InputError(
            f"Another process has begun this very run in {output} meanwhile. Give the same "
            f"command again to go on with it."
        )
    folder = begin(output, asked)
    if request.settled is not None:
        folder.update_status(settled=asdict(request.settled))
    write_toml(folder.settings, settings.model_dump(mode="json"))
    write_json(folder.data, data_manifest(settings, splits))
    if request.begun_as:
        _take_over(folder, request.begun_as, settings.method)
    write_json(folder.environment, environment(settings.device))  # last: see `inspect`


def _take_over(folder: RunFolder, earlier: Path, method: str) -> None:
    """The first stage as another run trained it, from the same settings and seed.

    Raises:
        InputError: it cannot be copied.
    """
    stage = find_arm(method).stages[0]
    source, place = RunFolder(earlier).stage(stage).path, folder.stage(stage).path
    building = place.with_name(f".{stage}.tmp")
    try:
        shutil.rmtree(building, ignore_errors=True)
        shutil.copytree(source, building)
        building.rename(place)
    except OSError as error:
        shutil.rmtree(building, ignore_errors=True)
        # Of a whole tree the faults are collected, each with its two paths.
        said = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror
        raise InputError(
            f"{source} cannot be copied to {place}: {said}. Allow it or free some space, and give "
            f"the same command again."
        ) from error
    seconds = RunFolder(earlier).seconds(first_stage=stage)
    folder.update_status(taken_over={"run": earlier.name, "stage": stage, "seconds": seconds})


def _going_on(output: Path, request: Request) -> str:
    said = f"Going on with the run in {output}"
    if request.max_seconds is None:
        return said
    return f"{said}, by the schedule that it began with: --max-time shortens new runs alone."


def _earlier(folder: RunFolder, now: RunSettings, device: str) -> RunSettings:
    """What a run was resolved to, on the device that there is now, by the threads of now."""
    known = all_keys()  # of an earlier version's settings, those that there still are
    resolved = {k: v for k, v in flatten(folder.resolved_settings()).items() if k in known}
    earlier = make_settings(recipe=resolved)
    workers = earlier.workers if now.workers == "auto" else now.workers
    return earlier.model_copy(update={"device": str(find_device(device)), "workers": workers})


def _close(folder: RunFolder, request: Request, seconds: float) -> None:
    folder.update_status(stage="done", finished=True, seconds=seconds)
    if request.report:
        write_report(folder.path)


def _check_same_images(folder: RunFolder, splits: Splits) -> None:
    """A run must not go on with other images than it began with."""
    if read_json(folder.data)["fingerprint"] != split_manifest(splits)["fingerprint"]:
        raise InputError(
            f"The images have changed since the run in {folder.path} began. "
            f"Start again with --overwrite, or choose another folder with --output."
        )


def _notices(settings: RunSettings, splits: Splits, asked: Mapping[str, object]) -> list[str]:
    automatic = asked["backbone.spec"] == "auto"
    side = shorter_side(splits.train)
    said = [*splits.notices, *planning.notices(settings, side, automatic=automatic)]
    if splits.held_out and not len(splits.test):
        said.append(
            "The held-out classes are not measured, since no image tests. Leave data.test_fraction "
            "out to have them measured."
        )
    return said


def _tell(
    folder: RunFolder,
    settings: RunSettings,
    backbone: Backbone,
    splits: Splits,
    asked: Mapping[str, object],
    progress: Progress,
) -> None:
    """What the user should know of the run, at its start and in its report."""
    notices = [*_notices(settings, splits, asked), *_of_another(folder)]
    folder.update_status(notices=notices, method=settings.method)
    for text in (*planning.reading_of(backbone), *notices):
        progress.message(text)


def _of_another(folder: RunFolder) -> list[str]:
    taken = folder.status().get("taken_over")
    if not taken:
        return []
    said = f"The {taken['stage']} stage was trained by {taken['run']}, which began alike, in"
    return [f"{said} {in_words(taken['seconds'])}."]


def plan(settings: RunSettings, request: Request, progress: Progress) -> list[str]:
    """What :func:`train` would do, in words; nothing is written.

    Raises:
        InputError: as :func:`train`.
    """
    asked = naming.request_of(settings)
    output = request.output or naming.earlier_output(settings, asked)
    splits = read_checked(settings, progress, Shared())
    settings = settle_backbone(settings, splits, progress)
    output = output or naming.default_output(settings)
    inspect(output, asked, naming.DEFAULTS, overwrite=request.overwrite)
    backbone = load_chosen(settings)
    settings = settle(settings, backbone, splits, request.max_seconds, progress)
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


def make_run(
    settings: RunSettings,
    folder: RunFolder,
    splits: Splits,
    progress: Progress,
    group: Group,
    shared: Shared,
    settled: Settled | None = None,
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
            device=own_device(settings.device),
            precision=settings.precision,
            evaluation_batch=settings.evaluation.batch_size,
            workers=workers,
            group=group,
        ),
        classes=len(splits.class_names),
        progress=progress,
        shared=shared,
        settled=settled,
    )
