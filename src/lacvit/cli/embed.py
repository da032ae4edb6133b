"""``lacvit embed``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lacvit.cli.files import CHUNK, image_files, read_in_chunks
from lacvit.cli.options import Device
from lacvit.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from lacvit.model import Classifier

# Paths and embeddings, float32 (N, D), of some images at a time.
Embedded = Iterator[tuple[list[str], "np.ndarray"]]


def embed(
    model: Annotated[Path, typer.Argument(help="A run folder, or its model folder.")],
    paths: Annotated[list[str], typer.Argument(help="Image files, folders, or globs.")],
    output: Annotated[
        Path,
        typer.Option(
            help="File to write: .parquet (columns path and embedding) or .npz (arrays paths and "
            "embeddings). One that is there is replaced."
        ),
    ],
    device: Device = "auto",
) -> None:
    """Write the embeddings of images: what the trained encoder makes of each, float32.

    They are the pooled features that the model's head reads, not scaled: compare them by cosine.
    Files that cannot be read are named, left out, and end in code 2.
    """
    write = _writer(output)
    files = image_files(paths)
    from lacvit.model import load

    classifier = load(model, device=device)
    unreadable: list[str] = []
    # Beside the file, so that a run that is stopped leaves the one that was there.
    part = output.with_name(f".{output.name}.part")
    try:
        write(part, _embed(classifier, files, unreadable), classifier.backbone.dim)
        if len(unreadable) < len(files):
            part.replace(output)
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror or error}.") from error
    finally:
        part.unlink(missing_ok=True)
    if unreadable:
        raise InputError(f"{len(unreadable)} of {len(files)} files were left out: see above.")
    print(f"{len(files)} embeddings of {classifier.backbone.dim} numbers each: {output}")


def _writer(output: Path) -> Callable[[Path, Embedded, int], None]:
    """What writes this kind of file, which can be put where it is to be."""
    writers = {".parquet": _write_parquet, ".npz": _write_npz}
    if output.suffix not in writers:
        raise InputError(f"--output is {output}; its name must end in {' or '.join(writers)}.")
    if output.is_dir():
        raise InputError(f"--output is {output}, which is a folder; give the name of a file.")
    if not output.absolute().parent.is_dir():
        raise InputError(f"--output is {output}, and there is no folder {output.parent}.")
    return writers[output.suffix]


def _embed(classifier: Classifier, files: Sequence[str], unreadable: list[str]) -> Embedded:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    with_bar = console.is_terminal and not console.is_dumb_terminal
    for paths, images in track(
        read_in_chunks(files, unreadable),
        "embedding",
        total=len(range(0, len(files), CHUNK)),
        console=console,
        disable=not with_bar,
        transient=True,
    ):
        if paths:
            yield paths, classifier.embed(images)


def _write_parquet(file: Path, embedded: Embedded, dim: int) -> None:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    kind = pa.list_(pa.float32(), dim)
    schema = pa.schema([("path", pa.string()), ("embedding", kind)])
    with ParquetWriter(file, schema) as writer:
        for paths, rows_ND in embedded:
            column = pa.FixedSizeListArray.from_arrays(rows_ND.ravel(), dim)
            writer.write_table(pa.table([pa.array(paths), column], schema=schema))


def _write_npz(file: Path, embedded: Embedded, dim: int) -> None:
    import numpy as np

    paths: list[str] = []
    parts = [np.empty((0, dim), np.float32)]
    for more, rows_ND in embedded:
        paths += more
        parts.append(rows_ND)
    with file.open("wb") as target:  # given a name, numpy would add a suffix to it
        np.savez(target, paths=np.array(paths, dtype=str), embeddings=np.concatenate(parts))
