"""Options that several commands have in common."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """How an answer is written."""

    text = "text"
    json = "json"


Form = Annotated[Format, typer.Option("--format", help="For people, or for programs.")]
Root = Annotated[
    Path | None, typer.Option(help="Where a set given by its name lies (cifar10, cub200, ...).")
]
Download = Annotated[
    bool, typer.Option("--download", help="Let torchvision fetch that set into --root.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]


def fetch_if_asked(download: bool, data: str, root: str | Path | None) -> None:
    """The set that ``--download`` speaks of, before anything reads it.

    Raises:
        InputError: as :func:`lacvit.downloads.fetch`.
    """
    if download:
        from lacvit.downloads import fetch  # imports torch

        fetch(data, root)
