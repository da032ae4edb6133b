"""What a run answered on its test images, and their features, read from its ``evaluation/``.

Shape letters: N test images, D dimensions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from lacvit.errors import InputError, first_line

PREDICTIONS = "predictions.parquet"
FEATURES = "features/test.safetensors"


def read_predictions(evaluation: Path, *columns: str) -> pa.Table:
    """These columns of the answers, a row an image.

    Raises:
        InputError: the file is missing or damaged, or has no such column.
    """
    path = evaluation / PREDICTIONS
    try:
        return pq.read_table(path, columns=list(columns)).select(columns)
    except (pa.ArrowException, KeyError, OSError) as fault:
        raise damaged(path, first_line(fault)) from fault


def read_features(evaluation: Path) -> dict[str, NDArray[np.float32]]:
    """Feature set -> (N, D), in the order of the answers; nothing where none were kept.

    Raises:
        InputError: the file is damaged.
    """
    path = evaluation / FEATURES
    if not path.is_file():
        return {}
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as fault:
        raise damaged(path, first_line(fault)) from fault
    return {name: rows.astype(np.float32) for name, rows in tensors.items() if rows.ndim == 2}


def damaged(path: Path, reason: str) -> InputError:
    """The fault of a file that a run wrote and that is no more as it was."""
    return InputError(
        f"{path} cannot be read: {reason}. Restore the file, or delete the folder of its run and "
        f"give the same command, which runs it anew."
    )
