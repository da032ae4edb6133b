"""Every vision transformer of timm, small and untrained: does all of lacvit work with it?

Command:  python experiments/sweep_timm.py
          (goes on where it was left; --limit N for a taste; --again tries failures anew)
Hardware: one core, no GPU.
Time:     about 2 minutes of processor time.
Result:   experiments/results/sweep_timm.csv, one line an architecture: ok, or what failed.

Width, depth and input size are overridden, so that nothing is over 100 M parameters. Each network
is saved as a folder of timm's with every weight random, loaded by ``timm:FOLDER``, trained for one
step with every group of parameters, saved as a model of lacvit's, loaded, and must then give the
same features.
"""

import argparse
import csv
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

import lacvit
from lacvit.backbones import load_backbone
from lacvit.backbones.timm_sources import timm
from lacvit.config import CrossEntropySettings
from lacvit.model import Classifier
from lacvit.training.optim import build_optimizer, group_parameters, set_learning_rates

PATTERNS = ("vit_*", "deit*", "beit*", "eva*", "swin*", "*dinov2*", "*dinov3*")
RESULTS = Path(__file__).parent / "results" / "sweep_timm.csv"
COLUMNS = ("architecture", "outcome", "parameters", "blocks", "pixels", "seconds", "timm")
SWIN = {"img_size": 64, "embed_dim": 32, "depths": (1, 1, 1, 1), "num_heads": (2, 2, 2, 2)}
PLAIN = {"embed_dim": 64, "depth": 2, "num_heads": 4}
# Part of a name -> what its architecture needs beside, or cannot have otherwise.
SPECIAL = {
    "sapiens2": {"num_kv_heads": 4},  # a list of the full depth otherwise
    "vit_giant_patch14_": {"embed_dim": 96},  # the gated MLP wants an even hidden width
    "_mci_": {"embed_dim": 768, "num_heads": 12},  # its stem's width is fixed
}
LARGEST = 100_000_000


def small_network(name: str) -> nn.Module:
    """The architecture of few blocks and little width, every weight drawn anew."""
    arguments: dict[str, Any] = dict(SWIN) if name.startswith("swin") else dict(PLAIN)
    if name.startswith("swin") and not name.startswith("swinv2_cr"):
        arguments["window_size"] = 2
    if not name.startswith("swin"):
        arguments["img_size"] = 4 * patch_of(name)
    for part, needed in SPECIAL.items():
        if part in name:
            arguments |= needed
    torch.manual_seed(0)
    network: nn.Module = timm.create_model(name, num_classes=5, **arguments)
    size = sum(p.numel() for p in network.parameters())
    assert size <= LARGEST, f"{size} parameters"
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator), alpha=0.02)
    return network


def patch_of(name: str) -> int:
    """Pixels a side of its patches, out of its name; 16 where the name is silent."""
    digits = name.partition("patch")[2].split("_")[0]
    return (
        int(digits) if digits.isdigit() else 32 if "_r26_s32" in name or "r50_s32" in name else 16
    )


def try_one(name: str, folder: Path) -> dict[str, object]:
    """Create, load, train a step, save, load: the facts, or an exception."""
    timm.models.save_for_hf(small_network(name), folder / "timm", safe_serialization=True)
    backbone = load_backbone(f"timm:{folder / 'timm'}")
    head = nn.Linear(backbone.dim, 3)
    size = backbone.input_spec.size
    images = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(2))
    settings = CrossEntropySettings(lr=1.0)
    groups = group_parameters(backbone, {"head": head}, settings)
    optimizer = build_optimizer(groups, "adamw")
    set_learning_rates(optimizer, 1e-3)
    before = {name: p.detach().clone() for name, p in backbone.named_parameters()}
    backbone.train()
    nn.functional.cross_entropy(head(backbone(images)), torch.tensor([0, 1, 2, 0])).backward()
    optimizer.step()
    still = [n for n, p in backbone.named_parameters() if torch.equal(p, before[n])]
    assert not still, f"not trained: {', '.join(still[:4])}"
    Classifier(backbone, head, ["a", "b", "c"]).save(folder / "model", card="")
    again = lacvit.load(folder / "model", device="cpu")
    with torch.no_grad():
        wanted, found = backbone.eval()(images), again.backbone(images)
    assert torch.equal(wanted, found), f"differs by {(wanted - found).abs().max():.1e} once loaded"
    return {
        "outcome": "ok",
        "parameters": sum(p.numel() for p in backbone.parameters()),
        "blocks": len(backbone.blocks()),
        "pixels": size,
    }


def attempt(name: str) -> dict[str, object]:
    """The line of the results for one architecture."""
    started = time.process_time()
    row: dict[str, object]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            row = try_one(name, Path(folder))
        except Exception as error:  # whatever it is, it is this architecture's result
            said = (str(error).splitlines() or [""])[0]
            row = {"outcome": f"{type(error).__name__}: {said[:200]}"}
    seconds = round(time.process_time() - started, 1)
    return {"architecture": name, **row, "seconds": seconds, "timm": timm.__version__}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, help="architectures at most in this go")
    parser.add_argument("--again", action="store_true", help="try those that failed before")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = list(dict.fromkeys(n for pattern in PATTERNS for n in timm.list_models(pattern)))
    rows: dict[str, dict[str, object]] = {}
    if RESULTS.exists():
        with RESULTS.open(newline="", encoding="utf-8") as file:
            rows = {row["architecture"]: dict(row) for row in csv.DictReader(file)}
    waiting = [n for n in names if n not in rows or (options.again and rows[n]["outcome"] != "ok")]
    for name in waiting[: options.limit]:
        rows[name] = attempt(name)
        with RESULTS.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows[n] for n in names if n in rows)
        print(f"{name}: {rows[name]['outcome']}", flush=True)
    failed = [n for n in names if n in rows and rows[n]["outcome"] != "ok"]
    print(f"{len(rows)} of {len(names)} tried, {len(failed)} failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
