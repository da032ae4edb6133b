"""Hugging Face style Parquet: encoded images in one column, labels in another."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from lacvit.data.folders import SPLIT_NAMES, natural_order, split_called
from lacvit.data.records import ImageRecords, ImageSource, UnreadableImageError, some_of
from lacvit.errors import InputError

# Where the schema does not say which column is which: names tried in order.
IMAGE_COLUMNS = ("image", "img", "images", "picture", "pixel_values")
LABEL_COLUMNS = ("label", "labels", "class", "fine_label", "target", "category")


@dataclass(frozen=True, eq=False)
class ColumnSource(ImageSource):
    """Encoded images in a Parquet column; the column is held in memory, still encoded."""

    column: pa.ChunkedArray  # of binary
    rows: npt.NDArray[np.int64]

    def payload(self, index: int) -> bytes:
        value = self.column[int(self.rows[index])].as_py()
        if value is None:
            raise UnreadableImageError("the row holds no bytes")
        return bytes(value)

    def select(self, indices: npt.NDArray[np.int64]) -> Self:
        return replace(self, rows=self.rows[indices])


def read_parquet(path: Path) -> dict[str, ImageRecords]:
    """Read one file as ``{"all": ...}``, a folder of files by split.

    In a folder, ``train.parquet`` and ``train-00000-of-00002.parquet`` belong to ``train``;
    a folder whose files name no split is one set, ``"all"``. A name that rows of several splits
    have gets its split in front: what images are called tells which are which.

    Raises:
        InputError: no Parquet, no column of images or labels, an unlabelled row.
    """
    if path.is_file():
        return {"all": _read_files([path])}
    files = parquet_files(path)
    by_split: dict[str, list[Path]] = {}
    unnamed = [file for file in files if _split_of(file) is None]
    if len(unnamed) == len(files):
        return {"all": _read_files(files)}
    if unnamed:
        raise InputError(
            f"{path} holds Parquet files of named splits and also "
            f"{some_of([file.name for file in unnamed])}. Files must be named for their split: "
            f"train, validation or test, such as train.parquet. Rename or remove the others."
        )
    for file in files:
        by_split.setdefault(_split_of(file) or "", []).append(file)
    return _told_apart({s: _read_files(by_split[s]) for s in SPLIT_NAMES if s in by_split})


def parquet_files(folder: Path) -> list[Path]:
    """The Parquet files directly in ``folder``, or in its ``data`` folder, in natural order."""
    for place in (folder, folder / "data"):
        if place.is_dir():
            found = [
                file
                for file in place.iterdir()
                if file.suffix.lower() == ".parquet" and not file.name.startswith(".")
            ]
            if found:
                return sorted(found, key=lambda file: natural_order(file.name))
    return []


def _split_of(file: Path) -> str | None:
    """The split in ``train.parquet``, ``train-00000-of-00002.parquet``, ``cifar_test.parquet``."""
    words = re.split(r"[-_.]", file.stem)
    named = {split for word in words if (split := split_called(word))}
    return named.pop() if len(named) == 1 else None


def _read_files(files: Sequence[Path]) -> ImageRecords:
    schema = _schema(files[0])
    image_name, label_name = _columns(schema, files[0])
    chunks: list[pa.Array] = []
    paths: list[str] = []
    values: list[Any] = []
    for file in files:
        table = _table(file, [image_name, label_name])
        if _declared_classes(table.schema, label_name) != _declared_classes(schema, label_name):
            raise InputError(
                f"{file} names other classes in its schema than {files[0].name}. Files of one "
                f"split need one schema: make them again together."
            )
        encoded, stored = _payloads_and_paths(table.column(image_name))
        chunks += encoded.chunks
        paths += [name or f"{file.name}#{row}" for row, name in enumerate(stored)]
        values += table.column(label_name).to_pylist()
    if not values:
        raise InputError(f"{files[0]} has no rows. Give a Parquet file with images, or remove it.")
    labels, class_names = _labels(values, _declared_classes(schema, label_name), files[0])
    column = pa.chunked_array(chunks, type=pa.large_binary())
    return ImageRecords(
        source=ColumnSource(column, np.arange(len(paths))),
        paths=_unique(paths),
        labels=labels,
        class_names=class_names,
    )


def _schema(file: Path) -> pa.Schema:
    with _told_by_name(file):
        return pq.read_schema(file)


def _table(file: Path, columns: list[str]) -> pa.Table:
    """These columns alone, of this file alone (no guessing of partitions from its folders)."""
    with _told_by_name(file), pq.ParquetFile(file) as parquet:
        names = parquet.schema_arrow.names
        if not set(columns) <= set(names):
            raise InputError(
                f"{file} lacks the columns {' and '.join(columns)} that the first file of its "
                f"split has; it has {', '.join(names)}. Files of one split need one schema."
            )
        return parquet.read(columns=columns)


@contextmanager
def _told_by_name(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{file} cannot be read as Parquet: {str(error).strip().splitlines()[0]} "
            f"Make the file again, or give a folder of class folders."
        ) from error


def _features(schema: pa.Schema) -> dict[str, Any]:
    """What Hugging Face's ``datasets`` wrote about the columns, or nothing."""
    try:
        stored = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = stored["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _kind(feature: Any) -> str | None:
    return feature.get("_type") if isinstance(feature, dict) else None


def _columns(schema: pa.Schema, file: Path) -> tuple[str, str]:
    """Names of the image column and the label column: declared, else by type and name."""
    features = _features(schema)
    names = set(schema.names)
    pictures = [n for n in schema.names if _kind(features.get(n)) == "Image"]
    pictures = pictures or [n for n in schema.names if _holds_bytes(schema.field(n).type)]
    classes = [n for n in schema.names if _kind(features.get(n)) == "ClassLabel"]
    classes = classes or [n for n in LABEL_COLUMNS if n in names and n not in pictures]
    image = _the_one(pictures, IMAGE_COLUMNS)
    label = _the_one(classes, LABEL_COLUMNS)
    if image is None:
        raise InputError(
            f"{file} has no column of images that can be told: its columns are "
            f"{_typed(schema)}. One must hold encoded images (a struct with bytes and path, or "
            f"binary) and be called {' or '.join(IMAGE_COLUMNS[:2])}. Rename it."
        )
    if label is None:
        raise InputError(
            f"{file} has no column of labels that can be told: its columns are "
            f"{_typed(schema)}. One must hold whole numbers or names and be called "
            f"{' or '.join(LABEL_COLUMNS[:3])}. Rename it."
        )
    return image, label


def _the_one(candidates: Sequence[str], preferred: Sequence[str]) -> str | None:
    """The first preferred name among the candidates, else the only candidate."""
    for name in preferred:
        if name in candidates:
            return name
    return candidates[0] if len(candidates) == 1 else None


def _typed(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and _is_binary(kind.field(at).type)
    return _is_binary(kind)


def _payloads_and_paths(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, list[str | None]]:
    if not pa.types.is_struct(column.type):
        return column.cast(pa.large_binary()), [None] * len(column)
    parts = dict(zip([f.name for f in column.type], column.flatten(), strict=True))
    encoded = parts["bytes"].cast(pa.large_binary())
    if "path" not in parts:
        return encoded, [None] * len(column)
    return encoded, parts["path"].to_pylist()


def _declared_classes(schema: pa.Schema, label_name: str) -> tuple[str, ...] | None:
    feature = _features(schema).get(label_name)
    names = feature.get("names") if isinstance(feature, dict) else None
    return tuple(str(name) for name in names) if isinstance(names, list) and names else None


def _labels(
    values: Sequence[Any], declared: tuple[str, ...] | None, file: Path
) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Labels as positions in the class names: declared names, else the values themselves."""
    unlabelled = sum(value is None or value == -1 for value in values)
    if unlabelled:
        raise InputError(
            f"{file} has {unlabelled} of {len(values)} rows without a label (empty, or -1). "
            f"Every row needs one: label these rows, or remove them."
        )
    kinds = {type(value) for value in values}
    if not kinds <= {int, str, bool}:
        raise InputError(
            f"{file} has labels of type {', '.join(sorted(k.__name__ for k in kinds))}; they must "
            f"be whole numbers or names. Store one class an image."
        )
    if declared and kinds <= {int}:
        outside = sorted({value for value in values if not 0 <= value < len(declared)})
        if outside:
            raise InputError(
                f"{file} has the label {outside[0]}, but its schema names {len(declared)} classes "
                f"(0 to {len(declared) - 1}). Correct the labels, or the names in the schema."
            )
        return np.array(values, dtype=np.int64), declared
    texts = [str(value) for value in values]
    names = declared if declared and set(texts) <= set(declared) else None
    names = names or tuple(sorted(set(texts), key=natural_order))
    position = {name: i for i, name in enumerate(names)}
    return np.array([position[text] for text in texts], dtype=np.int64), names


def _told_apart(by_split: dict[str, ImageRecords]) -> dict[str, ImageRecords]:
    times = Counter(path for records in by_split.values() for path in records.paths)
    return {
        split: replace(
            records,
            paths=tuple(f"{split}/{p}" if times[p] > 1 else p for p in records.paths),
        )
        for split, records in by_split.items()
    }


def _unique(paths: Sequence[str]) -> tuple[str, ...]:
    """Paths that occur more than once get their row behind them."""
    times = Counter(paths)
    if len(times) == len(paths):
        return tuple(paths)
    return tuple(f"{path}#{row}" if times[path] > 1 else path for row, path in enumerate(paths))
