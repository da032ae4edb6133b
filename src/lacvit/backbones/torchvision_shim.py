"""Lets torchvision's usual wheel import beside a CPU build of torch.

The wheels on the package index link CUDA libraries. On a CPU build of torch their compiled
operators do not load, and ``import torchvision`` fails while it describes operators that were
never registered; timm, peft and parts of transformers fail with it. Nothing here uses those
operators, so registering their signatures is enough.
"""

from __future__ import annotations

import importlib
import sys

import torch

MISSING = "operator torchvision::nms does not exist"
SIGNATURES = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

_library: torch.library.Library | None = None  # the registration lives as long as this reference


def ensure_torchvision() -> None:
    """Import torchvision, mending that one failure.

    Call it before the first import of torchvision, timm or peft. On a torchvision that imports
    by itself it does nothing more.

    Raises:
        RuntimeError: torchvision fails for another reason.
    """
    global _library
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if MISSING not in str(error) or _library is not None:
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]  # half-imported: the second try must start afresh
        _library = torch.library.Library("torchvision", "DEF")
        for signature in SIGNATURES:
            _library.define(signature)
        importlib.import_module("torchvision")
