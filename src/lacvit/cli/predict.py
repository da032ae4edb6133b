"""``lacvit predict``."""

from __future__ import annotations

import csv
import glob
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lacvit.cli.options import Device
from lacvit.errors import InputError

if TYPE_CHECKING:
    from lacvit.model import Classifier, Prediction

CHUNK = 32  # images read, labelled and printed at a time: photographs are large


class Format(StrEnum):
    """How the answers are written."""

    table = "table"
    csv = "csv"
    jsonl = "jsonl"


def predict(
    model: Annotated[Path, typer.Argument(help="A run folder, or its model folder.")],
    paths: Annotated[list[str], typer.Argument(help="Image files, folders, or globs.")],
    form: Annotated[
        Format | None,
        typer.Option("--format", help="[default: table on a terminal, csv otherwise]"),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes to give for each image.")] = 1,
    device: Device = "auto",
) -> None:
    """Label images with a trained model. Files that cannot be read are named, and end in code 2."""
    files = list(expand(paths))
    if not any(map(os.path.lexists, files)):
        raise _nothing_at(files[0])
    from lacvit.model import load

    classifier = load(model, device=device)
    form = form or (Format.table if sys.stdout.isatty() else Format.csv)
    if top > len(classifier.class_names):
        raise InputError(
            f"--top is {top}, and the model knows {len(classifier.class_names)} classes."
        )
    unreadable: list[str] = []
    predictions = _predict(classifier, files, top, unreadable)
    {Format.table: _table, Format.csv: _csv, Format.jsonl: _jsonl}[form](predictions, top)
    if unreadable:
        raise InputError(f"{len(unreadable)} of {len(files)} files have no answer: see above.")


def expand(paths: Sequence[str]) -> Iterator[str]:
    """Image files for files, folders (searched through) and globs, in order.

    Where there is nothing, the path itself: it is told with the files that cannot be read.

    Raises:
        InputError: a folder without images, or a name that is no text; it is named.
    """
    from lacvit.data.folders import check_name, images_below

    for path in paths:
        if Path(path).is_dir():
            found = sorted(str(Path(path) / name) for name in images_below(Path(path)))
            if not found:
                raise _nothing_at(path)
        elif Path(path).exists():
            found = [path]
        else:
            # A [ is a pattern's, or else of a folder that is so called.
            found = _matching(path) or _matching(path.replace("[", "[[]")) or [path]
        for name in found:
            check_name(name)
            yield name


def _nothing_at(path: str) -> InputError:
    return InputError(f"There is no image at {path}. Give image files, folders or globs.")


def _matching(pattern: str) -> list[str]:
    # Not Path.glob, which takes no absolute pattern and finds hidden files.
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207


def _predict(
    classifier: Classifier, files: list[str], top: int, unreadable: list[str]
) -> Iterator[Prediction]:
    """The answers; a file that cannot be read has none, is named, and goes to ``unreadable``."""
    from lacvit.data.decoding import UnreadableImageError
    from lacvit.model import read_image

    for start in range(0, len(files), CHUNK):
        paths, images = [], []
        for path in files[start : start + CHUNK]:
            try:
                images.append(read_image(path))
                paths.append(path)
            except UnreadableImageError as error:
                print(f"lacvit: {error}", file=sys.stderr)
                unreadable.append(path)
        for path, answer in zip(paths, classifier.predict(images, top=top), strict=True):
            yield replace(answer, path=path)


def _table(predictions: Iterable[Prediction], top: int) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    table = Table(Column("image", overflow="fold"), *(["label", "probability"] * top))
    for prediction in predictions:
        cells = [cell for name, p in prediction.top for cell in (escape(name), f"{p:.1%}")]
        table.add_row(escape(prediction.path), *cells)
    Console().print(table)


def _csv(predictions: Iterable[Prediction], top: int) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    further = [f"{what}_{k}" for k in range(2, top + 1) for what in ("label", "probability")]
    writer.writerow(["path", "label", "probability", *further])
    for prediction in predictions:
        cells = [cell for name, p in prediction.top for cell in (name, f"{p:.6f}")]
        writer.writerow([prediction.path, *cells])


def _jsonl(predictions: Iterable[Prediction], top: int) -> None:
    for prediction in predictions:
        row: dict[str, object] = {
            "path": prediction.path,
            "label": prediction.label,
            "probability": prediction.probability,
        }
        if top > 1:
            row["top"] = [{"label": n, "probability": p} for n, p in prediction.top]
        print(json.dumps(row, ensure_ascii=False))
