"""``lacvit train``."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from lacvit.arms import ARMS, AUTOMATIC, PUBLISHED_ARM
from lacvit.cli.options import Download, fetch_if_asked
from lacvit.config import (
    default_of,
    describe,
    make_settings,
    parse_assignment,
    read_recipe,
)
from lacvit.errors import InputError

METHODS = "auto: what the figures favour for the encoder, with settings for it; "
METHODS += "; ".join(f"{name}: {arm.summary}" for name, arm in ARMS.items())


def _option(key: str, *names: str, text: str | None = None) -> Any:
    """An option whose help is the description of the setting it stands for, and its default."""
    default = default_of(key)
    shown = "" if default is None else f" [default: {default}]"
    return typer.Option(*names, help=text or f"{describe(key)} ({key}){shown}", show_default=False)


def train(
    data: Annotated[
        str | None,
        typer.Argument(
            help="Folder with one folder a class (with or without train/val/test above), "
            "Parquet file or folder, or the name of a set. The recipe may name it instead.",
            show_default=False,
        ),
    ] = None,
    root: Annotated[str | None, _option("data.root", "--root")] = None,
    download: Download = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Run folder [default: runs/<data>-<method>-<backbone>-s<seed>]"),
    ] = None,
    backbone: Annotated[str | None, _option("backbone.spec", "--backbone")] = None,
    method: Annotated[
        str | None, _option("method", "--method", text=f"What to train. {METHODS} [default: auto]")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="TOML file of settings, such as another run's settings.toml")
    ] = None,
    epochs: Annotated[
        int | None,
        _option(
            "contrastive.epochs",
            "--epochs",
            text="Passes of the encoder's training: N epochs of all views with lacvit, and as "
            "many images for cross-entropy [default: with --method 100, without 25 to 60 by the "
            "number of images]",
        ),
    ] = None,
    head_epochs: Annotated[int | None, _option("head.epochs", "--head-epochs")] = None,
    batch_size: Annotated[
        int | None,
        _option("contrastive.batch_size", "--batch-size", text="Images a step [default: 128]"),
    ] = None,
    lr: Annotated[
        float | None,
        _option(
            "contrastive.lr",
            "--lr",
            text="Peak rate of the encoder's stage [default: 0.128 / embedding width; without "
            "--method twice that for encoders pretrained without labels]",
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        _option(
            "contrastive.temperature",
            "--temperature",
            text="Divides the cosines of the stage that contrasts, lacvit's without --method; "
            "lower looks harder at near neighbours [default: 0.1]",
        ),
    ] = None,
    loss: Annotated[
        str | None,
        _option(
            "contrastive.loss",
            "--loss",
            text="Of the stage that contrasts, lacvit's without --method: supcon, simclr, npair or "
            "sincere [default: supcon]",
        ),
    ] = None,
    image_size: Annotated[int | None, _option("backbone.image_size", "--image-size")] = None,
    trainable: Annotated[str | None, _option("backbone.trainable", "--trainable")] = None,
    seed: Annotated[int | None, _option("seed", "--seed")] = None,
    shots: Annotated[int | None, _option("data.shots", "--shots")] = None,
    hold_out_classes: Annotated[
        str | None,
        _option(
            "data.hold_out_classes",
            "--hold-out-classes",
            text="Classes never trained on, such as cat,dog, or how many to draw; at the end, how "
            "well the encoder tells them apart, and from the others (data.hold_out_classes)",
        ),
    ] = None,
    device: Annotated[str | None, _option("device", "--device")] = None,
    workers: Annotated[int | None, _option("workers", "--workers")] = None,
    assign: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="Any setting (lacvit settings lists them); may be repeated. Without --method, "
            "settings of contrastive.* alone (but for its epochs), joint.* alone or "
            "cross_entropy.* alone make it lacvit, joint-refit or cross-entropy-refit.",
        ),
    ] = None,
    max_time: Annotated[
        str | None,
        typer.Option(
            help="Shorten the schedule to end within about 90s, 45m or 2h, by timed steps."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Show the plan and write nothing.")] = False,
    quiet: Annotated[bool, typer.Option(help="Only warnings and the result.")] = False,
    json_logs: Annotated[bool, typer.Option(help="Progress as JSON lines on stderr.")] = False,
    strict: Annotated[bool, typer.Option(help="Any unreadable image is an error.")] = False,
    overwrite: Annotated[
        bool, typer.Option(help="Replace another run in the output folder.")
    ] = False,
) -> None:
    """Train a classifier on labelled images, with a report. The same command resumes a run."""
    flags: dict[str, object] = {
        "data.path": data,
        "data.root": root,
        "backbone.spec": backbone,
        "method": method,
        "contrastive.epochs": epochs,
        "head.epochs": head_epochs,
        "backbone.image_size": image_size,
        "backbone.trainable": trainable,
        "seed": seed,
        "data.shots": shots,
        "data.hold_out_classes": hold_out_classes,
        "device": device,
        "workers": workers,
        "data.strict": strict or None,
    }
    given = read_recipe(recipe) if recipe else {}
    assignments = [parse_assignment(text) for text in assign or ()]
    stages = _encoder_stages(method, assignments, given)
    for stage in stages:
        flags |= {f"{stage}.batch_size": batch_size, f"{stage}.lr": lr}
    contrast = "joint" if stages == ("joint",) else "contrastive"
    flags |= {f"{contrast}.temperature": temperature, f"{contrast}.loss": loss}
    settings = make_settings(
        recipe=given, assignments=assignments, flags=flags, typed=_typed(flags)
    )
    switches = (download, dry_run, quiet, json_logs, overwrite)
    _run(settings, output, _seconds(max_time), switches)


def _typed(flags: Iterable[str]) -> dict[str, str]:
    """What is typed for each setting that has a flag."""
    others = {"data.path": "DATA", "backbone.spec": "--backbone", "head.epochs": "--head-epochs"}
    return {key: others.get(key, f"--{key.rpartition('.')[2].replace('_', '-')}") for key in flags}


def _encoder_stages(
    method: str | None, assignments: list[tuple[str, object]], recipe: dict[str, object]
) -> tuple[str, ...]:
    """Which stages ``--lr`` and ``--batch-size`` speak of: the first that trains the encoder."""
    name = method or dict(assignments).get("method") or recipe.get("method") or "auto"
    if name == "auto":  # the encoder will choose one of them
        return AUTOMATIC.encoder_stages
    arm = ARMS.get(str(name), ARMS[PUBLISHED_ARM])  # a wrong name is refused with all other faults
    return arm.encoder_stages[:1] or ("contrastive",)


def _run(
    settings: Any,
    output: Path | None,
    max_seconds: float | None,
    switches: tuple[bool, bool, bool, bool, bool],
) -> None:
    download, dry_run, quiet, json_logs, overwrite = switches
    from lacvit import pipeline
    from lacvit.cli.signals import stop_on_signals
    from lacvit.evaluation.held_out import in_words
    from lacvit.progress import make_progress
    from lacvit.run_folder import read_json

    # Of several processes that a launcher started, the first speaks.
    silent = os.environ.get("RANK", "0") != "0"
    progress = make_progress(quiet=quiet, json_logs=json_logs, silent=silent)
    fetch_if_asked(download, settings.data.path or "", settings.data.root)
    request = pipeline.Request(output=output, overwrite=overwrite, max_seconds=max_seconds)
    if dry_run:
        if not silent:
            print("\n".join(pipeline.plan(settings, request, progress)))
        return
    with stop_on_signals():
        result = pipeline.train(settings, request, progress=progress)
    if silent:
        return
    if result.measured_on == "training":
        print("Every image trained, so that none is left to measure the model on.")
    else:
        low, high = result.interval
        print(
            f"Accuracy@1 {100 * result.accuracy:.1f} % on {result.images} {result.measured_on} "
            f"images (95 % interval {100 * low:.1f} to {100 * high:.1f})"
        )
    held_out = result.run_folder / "evaluation" / "held_out.json"
    if held_out.exists():
        print("\n".join(in_words(read_json(held_out))))
    for notice in result.notices:
        print(f"Note: {notice}")
    print(f"Run: {result.run_folder}\nReport: {result.run_folder / 'report.html'}")
    print(f"Use it: lacvit predict {shlex.quote(str(result.run_folder))} IMAGE...")


UNITS = {"s": 1, "m": 60, "h": 3600}


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text[:-1]) * UNITS[text[-1]]
    except (ValueError, KeyError, IndexError):
        seconds = 0
    if not 0 < seconds < float("inf"):
        raise InputError(f"--max-time is {text!r}; write a number with s, m or h, such as 45m.")
    return seconds
