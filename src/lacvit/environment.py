"""What a run records of where it ran: versions, the machine, and the command that began it."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from importlib.metadata import version
from pathlib import Path

import torch

LIBRARIES = ("lacvit", "torch", "torchvision", "timm", "numpy", "scikit-learn", "pillow")


def environment(device_name: str) -> dict[str, object]:
    """Versions, processor and command, as ``environment.json`` has them."""
    device = torch.device(device_name)
    return {
        **{name: version(name) for name in LIBRARIES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "command": _command(),
    }


def _command() -> str | None:
    """What was typed, as a shell reads it; None where another program called."""
    program = Path(sys.argv[0])
    ours = program.stem == "lacvit" or program.parts[-2:] == ("lacvit", "__main__.py")
    return shlex.join(["lacvit", *sys.argv[1:]]) if ours else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor()
