"""Label-aware contrastive training of pretrained vision transformers.

The public names below are loaded when they are first asked for: ``import lacvit`` costs nothing.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lacvit.api import compare, evaluate, load, train
    from lacvit.backbones import Backbone, load_backbone
    from lacvit.config import RunSettings
    from lacvit.errors import LacvitError
    from lacvit.input_spec import InputSpec
    from lacvit.losses import supcon_loss
    from lacvit.model import Classifier

__version__ = version("lacvit")

# Public name -> the module that it is loaded from.
_PUBLIC = {
    "Backbone": "lacvit.backbones",
    "Classifier": "lacvit.model",
    "InputSpec": "lacvit.input_spec",
    "LacvitError": "lacvit.errors",
    "RunSettings": "lacvit.config",
    "compare": "lacvit.api",
    "evaluate": "lacvit.api",
    "load": "lacvit.api",
    "load_backbone": "lacvit.backbones",
    "supcon_loss": "lacvit.losses",
    "train": "lacvit.api",
}

__all__ = [
    "Backbone",
    "Classifier",
    "InputSpec",
    "LacvitError",
    "RunSettings",
    "__version__",
    "compare",
    "evaluate",
    "load",
    "load_backbone",
    "supcon_loss",
    "train",
]


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'lacvit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
