"""What a pretraining run is told: its settings, the two recipes, and the command line."""

import argparse
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pico_models import Shape


@dataclass(frozen=True)
class Settings:
    """Everything but paths and threads; stored in the checkpoint, compared on resume."""

    objective: str = "supervised"
    embed_dim: int = 128
    depth: int = 6
    num_heads: int = 4
    stem: bool = False
    epochs: float = 10.0
    minutes: float = 0.0  # 0: no limit; else the schedule ends there if that comes first
    clock: str = "wall"  # or "cpu": processor time, fair between probes on a shared machine
    batch_size: int = 256
    optimiser: str = "muon"  # or "adamw" for everything
    lr: float = 1e-3  # of AdamW, which with Muon trains the rest
    muon_lr: float = 0.02
    weight_decay: float = 0.05
    warmup: float = 0.05  # share of the run
    smallest_crop: float = 0.35
    keep: float = 1.0  # supervised: share of patches seen in the first part of the run
    keep_until: float = 0.0  # where that first part ends
    label_smoothing: float = 0.1
    mask: float = 0.75
    decoder_dim: int = 96
    decoder_depth: int = 1
    seed: int = 0

    @property
    def shape(self) -> Shape:
        return Shape(self.embed_dim, self.depth, self.num_heads, stem=self.stem)


RECIPES = {
    "supervised": Settings(
        objective="supervised",
        epochs=10.5,
        keep=0.5,
        keep_until=0.75,
    ),
    "mae": Settings(
        objective="mae",
        epochs=6.4,
        lr=1.5e-3,
        smallest_crop=0.2,
        mask=0.5,
    ),
    "simmim": Settings(objective="simmim", epochs=3.2, smallest_crop=0.35, mask=0.6),
    "data2vec": Settings(objective="data2vec", epochs=3.2, smallest_crop=0.35, mask=0.6),
}


def parse_arguments() -> tuple[Settings, Path, Path, int]:
    parser = argparse.ArgumentParser(description="Pretrain pico or a twin of it.")
    parser.add_argument("--data", type=Path, required=True, help="tinyimagenet32/train.parquet")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--objective", choices=RECIPES, required=True)
    for field in fields(Settings):
        if field.name != "objective":
            parser.add_argument("--" + field.name.replace("_", "-"), **flag(field.default))
    values = vars(parser.parse_args())
    data, output, threads = (values.pop(name) for name in ("data", "output", "threads"))
    given = {name: value for name, value in values.items() if value is not None}
    return replace(RECIPES[given["objective"]], **given), data, output, threads


def flag(default: Any) -> dict[str, Any]:
    """None where it is not given: the recipe decides then."""
    if isinstance(default, bool):
        return {"action": "store_true", "default": None}
    return {"type": type(default), "default": None}
