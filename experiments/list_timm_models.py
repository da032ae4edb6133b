"""Writes src/lacvit/backbones/timm_models.csv, which `lacvit backbones` lists without timm.

    python experiments/list_timm_models.py

Every pretrained vision transformer of the installed timm: name with tag, parameters without a
classifier, input size, licence as timm records it, and the hub's repository. Counting builds each
architecture on torch's meta device: about two minutes of one core.
"""

from __future__ import annotations

import csv
from pathlib import Path

import torch

from lacvit.backbones.timm_sources import timm

PATTERNS = ("vit_*", "deit*", "beit*", "eva*", "swin*", "test_vit*")
TARGET = Path(__file__).parents[1] / "src" / "lacvit" / "backbones" / "timm_models.csv"


def count_parameters(architecture: str) -> int:
    """Of the encoder, without weights in memory."""
    with torch.device("meta"):
        network = timm.create_model(architecture, num_classes=0)
    return sum(p.numel() for p in network.parameters())


def main() -> None:
    counted: dict[str, int] = {}
    rows = []
    for name in timm.list_models(list(PATTERNS), pretrained=True):
        if not timm.get_pretrained_cfg(name).hf_hub_id:  # pickles elsewhere, which are refused
            continue
        architecture = name.split(".")[0]
        if architecture not in counted:
            counted[architecture] = count_parameters(architecture)
        described = timm.get_pretrained_cfg(name)
        rows.append(
            {
                "name": name,
                "parameters": counted[architecture],
                "input": described.input_size[-1],
                "licence": described.license or "",
                "repository": described.hf_hub_id or "",
            }
        )
    with TARGET.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} models of timm {timm.__version__} in {TARGET}")


if __name__ == "__main__":
    main()
