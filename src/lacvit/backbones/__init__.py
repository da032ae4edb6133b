"""Pretrained encoders, by a spec: ``pico``, ``timm:NAME``, ``file:PATH``."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Protocol

from lacvit.backbones import original_checkpoints, pico, timm_models
from lacvit.backbones.backbone import Architecture, Backbone, Origin
from lacvit.backbones.terms import terms_of
from lacvit.errors import InputError
from lacvit.input_spec import InputSpec

__all__ = [
    "Architecture",
    "Backbone",
    "InputSpec",
    "Origin",
    "build_backbone",
    "load_backbone",
    "terms_of",
]


class _Loader(Protocol):
    def __call__(self, name: str, /, *, image_size: int | None) -> Backbone: ...


# What stands before the colon of a spec -> what loads the rest of it.
SOURCES: dict[str, _Loader] = {
    "timm": timm_models.load,
    "file": original_checkpoints.load,
}

# The source of an architecture -> what builds it again, without weights.
BUILDERS: dict[str, Callable[[Architecture, InputSpec, Origin], Backbone]] = {
    "timm": timm_models.build,
}


def load_backbone(spec: str, *, image_size: int | None = None) -> Backbone:
    """A pretrained backbone.

    Args:
        spec: ``pico``, ``timm:NAME`` or ``file:PATH``.
        image_size: input height and width, where the model's own is not wanted.

    Raises:
        InputError: nothing by that name (the nearest is named), or it cannot be loaded.
    """
    if spec == "pico":
        return pico.load(image_size=image_size)
    source, colon, name = spec.partition(":")
    if colon and source in SOURCES and name:
        return SOURCES[source](name, image_size=image_size)
    raise InputError(f"There is no backbone {spec!r}. {_advice(spec)}")


def build_backbone(architecture: Architecture, input_spec: InputSpec, origin: Origin) -> Backbone:
    """The network of an architecture, with fresh weights, to load stored ones into.

    Raises:
        InputError: this version of lacvit has no such builder.
    """
    if architecture.source not in BUILDERS:
        raise InputError(
            f"This version of lacvit cannot build backbones of source {architecture.source!r}; "
            f"it knows {', '.join(BUILDERS)}. Upgrade lacvit."
        )
    return BUILDERS[architecture.source](architecture, input_spec, origin)


def _advice(spec: str) -> str:
    forms = "Write pico, timm:NAME or file:PATH."
    near = difflib.get_close_matches(spec, ["pico"], n=1)
    if near:
        return f"Did you mean {near[0]!r}? {forms}"
    models = timm_models.nearest(spec)
    return f"Did you mean timm:{models[0]}? {forms}" if models else forms
