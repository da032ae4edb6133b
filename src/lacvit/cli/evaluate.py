"""``lacvit evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lacvit.cli.options import Device, Download, Root, fetch_if_asked


def evaluate(
    model: Annotated[Path, typer.Argument(help="A run folder, or its model folder.")],
    data: Annotated[str, typer.Argument(help="Labelled images, as for lacvit train.")],
    split: Annotated[
        str, typer.Option(help="Which split; on a folder without splits, every image is used.")
    ] = "test",
    root: Root = None,
    download: Download = False,
    device: Device = "auto",
) -> None:
    """Measure a trained model on labelled images; classes are matched by name."""
    from lacvit.evaluation import evaluate as measuring
    from lacvit.model import load

    fetch_if_asked(download, data, root)
    evaluation = measuring.evaluate(load(model, device=device), data, split=split, root=root)
    low, high = evaluation.interval
    print(
        f"Accuracy@1 {100 * evaluation.accuracy:.1f} % on {len(evaluation.labels_N)} images "
        f"(95 % interval {100 * low:.1f} to {100 * high:.1f})"
    )
    for notice in evaluation.notices:
        print(f"Note: {notice}")
