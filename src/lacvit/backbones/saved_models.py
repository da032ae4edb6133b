"""What a saved model is on disk, for `run:` and `lacvit.load`: names, format, tensors by part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from lacvit.errors import InputError
from lacvit.run_folder import read_json

COPY = "Copy the whole folder again."  # what to do about a model that has come to harm
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
FORMAT_VERSION = 1
BACKBONE, HEAD = "backbone.", "head."  # what the names of tensors begin with


def find_model(folder: Path) -> Path | None:
    """The model's own folder: that of a run, or ``folder`` itself; None where there is none."""
    places = (folder / "model", folder)
    return next((place for place in places if (place / CONFIG).exists()), None)


def read_config(path: Path) -> dict[str, Any]:
    """``config.json`` of a model.

    Raises:
        InputError: it is damaged, no model's, or of another version's format.
    """
    written = read_json(path, COPY)
    found = written.get("format") if isinstance(written, dict) else None
    if found != FORMAT_VERSION:
        raise InputError(
            f"{path} has format {found!r}; this version of lacvit reads {FORMAT_VERSION}. "
            f"Upgrade lacvit, or give the folder of a model that lacvit saved."
        )
    config: dict[str, Any] = written
    return config


def below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of one part, under the part's own names."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
