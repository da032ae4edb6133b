"""From what was asked to what will be done: every ``auto`` resolved, and where the run goes."""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import torch

from lacvit.arms import DEFAULT_ARM
from lacvit.backbones import Backbone, pico
from lacvit.config import OptimizerSettings, RunSettings, flatten
from lacvit.devices import find_device
from lacvit.errors import InputError
from lacvit.run_folder import RunFolder, write_json, write_toml
from lacvit.training.head import EXACT_ITERATIONS, SGD_EPOCHS
from lacvit.training.optim import automatic_learning_rate

S = TypeVar("S", bound=OptimizerSettings)

DEFAULT_BACKBONE = "pico"  # what `--backbone auto` comes to
LARGE_IMAGES = 64  # pixels: above them pico's 32 lose detail, and the user is told


def arm_of(settings: RunSettings) -> str:
    """The arm's name, ``auto`` resolved."""
    return DEFAULT_ARM if settings.method == "auto" else settings.method


def backbone_spec_of(settings: RunSettings) -> str:
    """The backbone's spec, ``auto`` resolved."""
    spec = settings.backbone.spec
    return DEFAULT_BACKBONE if spec == "auto" else spec


def default_output(settings: RunSettings) -> Path:
    """``runs/<data>-<arm>-<backbone>-s<seed>``: the same command finds its run again."""
    data = Path(settings.data.path or "data").resolve().stem
    spec = backbone_spec_of(settings)
    source, _, name = spec.partition(":")
    short = Path(name.partition("?")[0]).stem if source in ("file", "run") else spec
    safe = re.sub(r"[^\w.-]+", "-", short)
    return Path("runs") / f"{data}-{arm_of(settings)}-{safe}-s{settings.seed}"


def request_of(settings: RunSettings) -> dict[str, object]:
    """What was asked for, as dotted settings without those that have no value."""
    return {k: v for k, v in flatten(settings.model_dump()).items() if v is not None}


def resolve(settings: RunSettings, backbone: Backbone) -> RunSettings:
    """Settings without ``auto``, save the precision, which is measured once the images are there.

    Raises:
        InputError: there is no such device; more blocks are to be trained than there are.
    """
    count = settings.backbone.trainable.removeprefix("last-")
    if count.isdigit() and int(count) > len(backbone.blocks()):
        raise InputError(
            f"--trainable last-{count} asks for more blocks than the {len(backbone.blocks())} of "
            f"{backbone.origin.spec}. Use a smaller number, or all."
        )
    contrastive = _with_rate(settings.contrastive, backbone)
    if contrastive.projection_hidden == "auto":
        contrastive = contrastive.model_copy(update={"projection_hidden": backbone.dim})
    cross_entropy = _with_rate(settings.cross_entropy, backbone)
    if cross_entropy.epochs == "auto":
        passes = settings.views.count * contrastive.epochs * cross_entropy.share_of_passes
        cross_entropy = cross_entropy.model_copy(update={"epochs": max(1, round(passes))})
    head = settings.head
    if head.epochs == "auto":
        epochs = EXACT_ITERATIONS if head.solver == "exact" else SGD_EPOCHS
        head = head.model_copy(update={"epochs": epochs})
    workers = min(8, os.cpu_count() or 1) if settings.workers == "auto" else settings.workers
    return settings.model_copy(
        update={
            "method": arm_of(settings),
            "device": str(find_device(settings.device)),
            "workers": workers,
            # Absolute, so that the settings repeat the run from any folder.
            "data": settings.data.model_copy(
                update={"path": str(Path(settings.data.path or "").resolve())}
            ),
            "backbone": settings.backbone.model_copy(update={"spec": backbone_spec_of(settings)}),
            "contrastive": contrastive,
            "cross_entropy": cross_entropy,
            "head": head,
        }
    )


def _with_rate(settings: S, backbone: Backbone) -> S:
    if settings.lr != "auto":
        return settings
    rate = automatic_learning_rate(settings.optimizer, backbone.dim)
    return settings.model_copy(update={"lr": rate})


def notices(settings: RunSettings, shorter_side: int) -> list[str]:
    """What the user should know at the start, in the closing table and in the report."""
    if settings.backbone.spec == "pico" and shorter_side > LARGE_IMAGES:
        return [f"The images are {shorter_side} pixels and more. {pico.NOTICE}"]
    return []


def write_plan(folder: RunFolder, settings: RunSettings, manifest: dict[str, object]) -> None:
    """``settings.toml``, ``data.json`` and ``environment.json``."""
    write_toml(folder.settings, settings.model_dump(mode="json"))
    write_json(folder.data, manifest)
    write_json(folder.environment, _environment(settings))


def _environment(settings: RunSettings) -> dict[str, object]:
    libraries = ("lacvit", "torch", "torchvision", "timm", "numpy", "scikit-learn", "pillow")
    device = torch.device(settings.device)
    return {
        **{name: version(name) for name in libraries},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "command": " ".join(["lacvit", *sys.argv[1:]]) if "lacvit" in sys.argv[0] else None,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor()
