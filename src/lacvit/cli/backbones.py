"""``lacvit backbones``: what can be named, and what a file of weights is."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from lacvit.cli.options import Form, Format
from lacvit.errors import InputError

WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # each enough; no model listed has others
INDEX = ".index.json"  # names the files of weights in parts


@dataclass(frozen=True)
class Listed:
    """A backbone that can be named."""

    spec: str
    parameters: int
    pixels: int
    licence: str  # empty where nobody recorded one
    repository: str  # of the hub, empty where the weights are elsewhere


# A model of the most used families of transformers, by its authors. Any other is named in the
# same way.
OF_TRANSFORMERS = (
    Listed("hf:google/vit-base-patch16-224-in21k", 85_800_000, 224, "apache-2.0", ""),
    Listed("hf:facebook/deit-base-distilled-patch16-224", 85_800_000, 224, "apache-2.0", ""),
    Listed("hf:microsoft/beit-base-patch16-224-pt22k-ft22k", 85_800_000, 224, "apache-2.0", ""),
    Listed("hf:facebook/data2vec-vision-base", 85_800_000, 224, "apache-2.0", ""),
    Listed("hf:facebook/vit-mae-base", 85_800_000, 224, "apache-2.0", ""),
    Listed("hf:facebook/dinov2-base", 86_600_000, 224, "apache-2.0", ""),
    Listed("hf:facebook/dinov2-with-registers-base", 86_600_000, 224, "apache-2.0", ""),
    Listed("hf:facebook/dinov3-vits16-pretrain-lvd1689m", 21_600_000, 224, "dinov3-license", ""),
    Listed("hf:openai/clip-vit-base-patch32", 87_500_000, 224, "", ""),
    Listed("hf:google/siglip-base-patch16-224", 92_900_000, 224, "apache-2.0", ""),
    Listed("hf:microsoft/swinv2-tiny-patch4-window8-256", 27_600_000, 256, "apache-2.0", ""),
)
PICO = Listed("pico", 1_216_640, 32, "imagenet, non-commercial", "")
FORMS = (
    "Also: hf:ORG/NAME or hf:FOLDER (any ViT of transformers), timm:hf-hub:ORG/NAME, timm:FOLDER, "
    "file:PATH (lacvit backbones inspect PATH), run:DIR."
)
KEYS_SHOWN = 8
COLUMNS = ("name", "parameters", "pixels", "licence", "on this machine")


def backbones(
    pattern: Annotated[
        str | None,
        typer.Argument(
            help="Part of a name, or a pattern such as 'vit_small*'; or the word inspect.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        str | None,
        typer.Argument(
            help="After inspect: a file of weights, as file: takes it.", show_default=False
        ),
    ] = None,
    form: Form = Format.text,
) -> None:
    """List the backbones that can be named, or say what a checkpoint is (inspect FILE)."""
    if pattern == "inspect":
        if file is None:
            raise InputError("Which file? Write: lacvit backbones inspect FILE")
        print(_inspected(file, form))
        return
    if file is not None:
        raise InputError(f"One pattern at a time, not {pattern!r} and {file!r}.")
    found = [row for row in listed() if pattern is None or _matches(pattern, row.spec)]
    if not found:
        raise InputError(
            f"No backbone's name matches {pattern!r}. lacvit backbones lists them all. {FORMS}"
        )
    if form == Format.json:
        rows = [asdict(row) | {"on_this_machine": _is_here(row)} for row in found]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    print("\n".join(_table(found)))
    typer.echo(FORMS, err=True)


def listed() -> Iterator[Listed]:
    """pico, a model of each much used family of transformers, and every vision transformer of timm.

    timm's are read from a table that ``experiments/list_timm_models.py`` wrote: importing timm
    takes seconds.
    """
    yield PICO
    yield from OF_TRANSFORMERS
    table = resources.files("lacvit") / "backbones" / "timm_models.csv"
    for row in csv.DictReader(table.read_text(encoding="utf-8").splitlines()):
        yield Listed(
            f"timm:{row['name']}",
            int(row["parameters"]),
            int(row["input"]),
            row["licence"],
            row["repository"],
        )


def _matches(pattern: str, spec: str) -> bool:
    wanted, name = pattern.lower(), spec.lower()
    if not set(wanted) & set("*?["):
        return wanted in name
    return fnmatchcase(name, wanted) or fnmatchcase(name.partition(":")[2], wanted)


def _table(rows: list[Listed]) -> list[str]:
    cells = [COLUMNS] + [
        (
            row.spec,
            f"{row.parameters / 1e6:.1f} M",
            str(row.pixels),
            row.licence or "unknown",
            "yes" if _is_here(row) else "no",
        )
        for row in rows
    ]
    widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]


def _is_here(row: Listed) -> bool:
    """Whether the weights come with the package, or are in the hub's cache, all their parts."""
    repository = row.repository or row.spec.partition("hf:")[2]
    if not repository:
        return row is PICO
    if any(_cached(repository, name) for name in WEIGHTS):
        return True
    indices = [_cached(repository, f"{name}{INDEX}") for name in WEIGHTS]
    return row.spec.startswith("hf:") and any(
        all(_cached(repository, part) for part in _parts(Path(path))) for path in indices if path
    )


def _parts(index: Path) -> set[str]:
    """The files of weights in parts."""
    return set(json.loads(index.read_bytes())["weight_map"].values())


def _cached(repository: str, name: str) -> str | None:
    import huggingface_hub  # half a second, which the other commands need not spend
    from huggingface_hub import constants

    found = huggingface_hub.try_to_load_from_cache(
        repository, name, cache_dir=constants.HF_HUB_CACHE
    )
    return found if isinstance(found, str) else None


def _inspected(file: str, form: Format) -> str:
    from lacvit.backbones.inspection import inspect_checkpoint  # imports torch
    from lacvit.backbones.reading import split_options

    path, options = split_options(file.removeprefix("file:"))
    found = inspect_checkpoint(path, format=options.get("format"))
    if form == Format.json:
        return found.model_dump_json(indent=2)
    report = found.model_dump()
    return "\n".join(
        f"{name.replace('_', ' '):12} {_in_words(value)}"
        for name, value in report.items()
        if value not in (None, "", ())
    )


def _in_words(value: object) -> str:
    """Long lists by their first entries and their length."""
    if not isinstance(value, tuple):
        return f"{value:,}" if isinstance(value, int) else str(value)
    shown = ", ".join(map(str, value[:KEYS_SHOWN]))
    return shown if len(value) <= KEYS_SHOWN else f"{shown} and {len(value) - KEYS_SHOWN} more"
