"""``lacvit predict``."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lacvit.cli.files import image_files, read_in_chunks
from lacvit.cli.options import Device
from lacvit.errors import InputError

if TYPE_CHECKING:
    from lacvit.model import Classifier, Prediction


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
    files = image_files(paths)
    from lacvit.model import load

    classifier = load(model, device=device)
    form = form or (Format.table if sys.stdout.isatty() else Format.csv)
    if top > len(classifier.class_names):
        classes = len(classifier.class_names)
        raise InputError(
            f"--top is {top}, and the model knows {classes} classes. Give {classes} or less."
        )
    unreadable: list[str] = []
    predictions = _predict(classifier, files, top, unreadable)
    {Format.table: _table, Format.csv: _csv, Format.jsonl: _jsonl}[form](predictions, top)
    if unreadable:
        raise InputError(f"{len(unreadable)} of {len(files)} files have no answer: see above.")


def _predict(
    classifier: Classifier, files: list[str], top: int, unreadable: list[str]
) -> Iterator[Prediction]:
    for paths, images in read_in_chunks(files, unreadable):
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
