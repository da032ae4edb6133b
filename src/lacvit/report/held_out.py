"""What a run found of classes that it was never trained on, as a small table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lacvit.errors import InputError
from lacvit.report.words import FEATURES
from lacvit.run_folder import read_json

MEASURES = {
    "knn_1": "k-NN, k = 1: the other half of the images labels it",
    "knn_5": "k-NN, k = 5",
    "recall_at_1": "R@1: the nearest of all others is of its class",
    "map_at_r": "MAP@R: its class comes before the others",
    "nmi": "NMI: k-means finds the classes without labels",
    "novelty_auroc": "AUROC: told from known classes by its neighbours",
}


@dataclass(frozen=True)
class HeldOutSection:
    """``rows``: a measure in words, and its value for each of ``columns`` (encoders)."""

    class_names: tuple[str, ...]
    images: int
    known_images: int
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float, ...]], ...]
    head_novelty: float
    left_out: str


def held_out_section(run: Path) -> HeldOutSection | None:
    """From ``evaluation/held_out.json``; None where no class was held out.

    Raises:
        InputError: the file is there and is not as lacvit writes it.
    """
    path = run / "evaluation" / "held_out.json"
    if not path.is_file():
        return None
    try:
        return _section(read_json(path))
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise InputError(
            f"{path} is not as lacvit writes it ({fault!r}). Run the same `lacvit train` command "
            f"with --overwrite to write it anew."
        ) from fault


def _section(figures: Mapping[str, Any]) -> HeldOutSection:
    encoders = figures["embeddings"]
    return HeldOutSection(
        class_names=tuple(map(str, figures["class_names"])),
        images=int(figures["images"]),
        known_images=int(figures["known_images"]),
        columns=tuple(FEATURES.get(name, name) for name in encoders),
        rows=tuple(
            (words, tuple(float(measures[name]) for measures in encoders.values()))
            for name, words in MEASURES.items()
            if all(name in measures for measures in encoders.values())
        ),
        head_novelty=float(figures["head_novelty_auroc"]),
        left_out=str(figures.get("left_out", "")),
    )
