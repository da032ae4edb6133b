"""Small images and image sets for the tests of data."""

import io
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def noise(seed: int = 0, height: int = 8, width: int = 8) -> np.ndarray:
    """Random uint8 RGB."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(seed: int = 0, height: int = 48, width: int = 64) -> np.ndarray:
    """Random uint8 RGB with large structures, as photographs have."""
    small = Image.fromarray(noise(seed, 6, 8))
    return np.array(small.resize((width, height), Image.Resampling.BICUBIC))


def encoded(image: Image.Image | np.ndarray, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(buffer, format=form, **options)
    return buffer.getvalue()


def png(width: int, depth: int, row: bytes, transparent: Sequence[int]) -> bytes:
    """A PNG of one row with a transparent colour, of depths that Pillow does not write."""
    colour_type = 2 if len(transparent) == 3 else 0
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, 1, depth, colour_type, 0, 0, 0),
        b"tRNS": struct.pack(f">{len(transparent)}H", *transparent),
        b"IDAT": zlib.compress(b"\0" + row),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks.items()
    )


def write_classes(folder: Path, counts: Mapping[str, int], seed: int = 0) -> Path:
    """``folder/cats/0.png`` and so on, every image different."""
    for number, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            payload = encoded(noise(seed + 1000 * number + index))
            (folder / name / f"{index}.png").write_bytes(payload)
    return folder


def write_parquet(
    file: Path,
    labels: Sequence[object],
    *,
    names: Sequence[str] | None = None,
    paths: Sequence[str | None] | None = None,
    columns: tuple[str, str] = ("image", "label"),
    seed: int = 0,
) -> Path:
    """A Hugging Face style file; with ``names``, its schema declares the classes."""
    payloads = [encoded(noise(seed + i)) for i in range(len(labels))]
    stored = paths if paths is not None else [None] * len(labels)
    structs = pa.array(
        [{"bytes": p, "path": n} for p, n in zip(payloads, stored, strict=True)],
        type=pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    table = pa.table({columns[0]: structs, columns[1]: pa.array(labels)})
    if names is not None:
        label = {"names": list(names), "_type": "ClassLabel"}
        features = {columns[0]: {"_type": "Image"}, columns[1]: label}
        table = table.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file)
    return file
