"""``lacvit evaluate``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lacvit.cli.files import image_files, read_in_chunks
from lacvit.cli.options import Device, Download, Form, Format, Root, fetch_if_asked
from lacvit.errors import InputError

if TYPE_CHECKING:
    from lacvit.evaluation.evaluate import Evaluation
    from lacvit.model import Classifier

SHOWN = 20  # classes in the text


def evaluate(
    model: Annotated[Path, typer.Argument(help="A run folder, or its model folder.")],
    data: Annotated[str, typer.Argument(help="Labelled images, as for lacvit train.")],
    split: Annotated[
        str, typer.Option(help="Which split; on a folder without splits, every image is used.")
    ] = "test",
    unknown: Annotated[
        list[str] | None,
        typer.Option(
            help="Images of none of the classes, files, folders or globs: how well the model's "
            "probability tells them from those of DATA. May be repeated.",
        ),
    ] = None,
    root: Root = None,
    download: Download = False,
    device: Device = "auto",
    form: Form = Format.text,
) -> None:
    """Measure a trained model on labelled images; classes are matched by name.

    The text shows the classes of the lowest recall; --format json has all of them.
    """
    from lacvit.evaluation import evaluate as measuring
    from lacvit.model import load

    others = image_files(unknown) if unknown else []
    fetch_if_asked(download, data, root)
    classifier = load(model, device=device)
    evaluation = measuring.evaluate(classifier, data, split=split, root=root)
    novelty = _novelty(classifier, evaluation, others) if others else None
    if form == Format.json:
        found = {**evaluation.summary(), "per_class": evaluation.by_class()}
        if novelty is not None:
            found["unknown"] = novelty
        print(json.dumps({**found, "notices": evaluation.notices}, indent=2, ensure_ascii=False))
        return
    low, high = evaluation.interval
    print(
        f"Accuracy@1 {100 * evaluation.accuracy:.1f} % on {len(evaluation.labels_N)} images "
        f"(95 % interval {100 * low:.1f} to {100 * high:.1f})"
    )
    _show_classes(evaluation.by_class())
    if novelty is not None:
        print(
            f"Told from {novelty['images']} images of no known class by the largest probability: "
            f"AUROC {novelty['auroc']:.3f}; 0.5 tells nothing."
        )
    for notice in evaluation.notices:
        print(f"Note: {notice}")


def _novelty(
    classifier: Classifier, evaluation: Evaluation, files: Sequence[str]
) -> dict[str, float]:
    unreadable: list[str] = []
    probabilities_M = [
        answer.probability
        for _, images in read_in_chunks(files, unreadable)
        for answer in classifier.predict(images, top=1)
    ]
    if not probabilities_M:
        raise InputError("No image of --unknown can be read: see above.")
    auroc = evaluation.novelty_auroc(probabilities_M)
    return {"images": len(probabilities_M), "unreadable": len(unreadable), "auroc": auroc}


def _show_classes(rows: Sequence[Mapping[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    tested = sorted((row for row in rows if row["support"]), key=lambda row: row["recall"])
    table = Table("class", "images", "recall", "precision", "F1")
    for row in tested[:SHOWN]:
        shares = (f"{100 * row[name]:.1f} %" for name in ("recall", "precision", "f1"))
        table.add_row(escape(row["class"]), f"{row['support']:,}", *shares)
    Console().print(table)
    if len(tested) > SHOWN:
        print(f"{len(tested) - SHOWN} more classes have a higher recall.")
