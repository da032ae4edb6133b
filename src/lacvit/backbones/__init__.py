"""Pretrained encoders, by a spec: ``pico``, ``timm:``, ``hf:``, ``file:`` or ``run:``."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Callable
from importlib.metadata import version
from types import ModuleType
from typing import Protocol, get_args

from lacvit.backbones.backbone import Architecture, Backbone, Origin, Pool
from lacvit.backbones.torchvision_shim import ensure_torchvision
from lacvit.errors import InputError, first_line
from lacvit.input_spec import InputSpec

ensure_torchvision()  # before timm, transformers and peft, which import torchvision

from lacvit.backbones import (  # noqa: E402
    hub,
    original_checkpoints,
    pico,
    run_models,
    timm_models,
    timm_sources,
)
from lacvit.backbones.terms import terms_of  # noqa: E402

__all__ = [
    "Architecture",
    "Backbone",
    "InputSpec",
    "Origin",
    "Pool",
    "build_backbone",
    "check_spec",
    "load_backbone",
    "terms_of",
]


class _Loader(Protocol):
    def __call__(self, name: str, /, *, image_size: int | None, pool: Pool | None) -> Backbone: ...


NO_TRANSFORMERS = (
    "Models of Hugging Face (hf:) need transformers, which is not installed. Install it with: pip "
    "install 'transformers>=5'"
)
FORMS = "Write pico, timm:NAME, hf:ORG/NAME, file:PATH or run:DIR."


def _hf_models() -> ModuleType:
    """Imported where it is used: transformers is an extra, and takes 8 seconds to import."""
    try:
        return importlib.import_module("lacvit.backbones.hf_models")
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        raise InputError(NO_TRANSFORMERS) from error


def _load_hf(name: str, /, *, image_size: int | None, pool: Pool | None) -> Backbone:
    loaded: Backbone = _hf_models().load(name, image_size=image_size, pool=pool)
    return loaded


def _build_hf(architecture: Architecture, input_spec: InputSpec, origin: Origin) -> Backbone:
    built: Backbone = _hf_models().build(architecture, input_spec, origin)
    return built


def _check_hf(name: str) -> None:
    if importlib.util.find_spec("transformers") is None:
        raise InputError(NO_TRANSFORMERS)
    folder = hub.local_folder(name)
    if folder is not None and not (folder / "config.json").exists():
        raise InputError(f"{folder} has no config.json: it is no model of transformers.")


def _load_run(name: str, /, *, image_size: int | None, pool: Pool | None) -> Backbone:
    return run_models.load(name, build_backbone, image_size=image_size, pool=pool)


# What stands before the colon of a spec -> what loads the rest of it.
SOURCES: dict[str, _Loader] = {
    "timm": timm_models.load,
    "hf": _load_hf,
    "file": original_checkpoints.load,
    "run": _load_run,
}

# The same -> what refuses the rest of it where that names nothing.
CHECKS: dict[str, Callable[[str], object]] = {
    "timm": timm_sources.check_name,
    "hf": _check_hf,
    "file": original_checkpoints.check_name,
    "run": run_models.find,
}

# The source of an architecture -> what builds it again, without weights.
BUILDERS: dict[str, Callable[[Architecture, InputSpec, Origin], Backbone]] = {
    "timm": timm_models.build,
    "hf": _build_hf,
}


def check_spec(spec: str) -> None:
    """Refuse a spec that names no backbone, as far as that can be told at once.

    No weights are read and no network is asked: a repository of the hub may still have no model.

    Raises:
        InputError: as :func:`load_backbone`.
    """
    if spec != "pico":
        source, name = _split(spec)
        CHECKS[source](name)


def load_backbone(
    spec: str, *, image_size: int | None = None, pool: Pool | None = None
) -> Backbone:
    """A pretrained backbone, its weights in float32 whatever the file holds.

    Args:
        spec: ``pico``, ``timm:NAME``, ``hf:ORG/NAME``, ``file:PATH`` or ``run:DIR``.
        image_size: input height and width, where the model's own is not wanted.
        pool: ``cls``, ``mean`` or ``attention``, where its authors' way is not wanted.

    Raises:
        InputError: nothing by that name (the nearest is named), an unknown way to pool, a size
            below 1, or it cannot be loaded.
    """
    if pool not in (None, *get_args(Pool)):
        raise InputError(f"pool is {pool!r}; choose one of: {', '.join(get_args(Pool))}.")
    if image_size is not None and image_size < 1:
        raise InputError(
            f"image_size is {image_size}; it must be at least 1. Leave it out for the backbone's "
            f"own size."
        )
    if spec == "pico":
        return pico.load(image_size=image_size, pool=pool)
    source, name = _split(spec)
    return SOURCES[source](name, image_size=image_size, pool=pool)


def build_backbone(architecture: Architecture, input_spec: InputSpec, origin: Origin) -> Backbone:
    """The network of an architecture, with fresh weights, to load stored ones into.

    Raises:
        InputError: this version of lacvit has no such builder, or its library cannot build it.
    """
    if architecture.source not in BUILDERS:
        raise InputError(
            f"This version of lacvit cannot build backbones of source {architecture.source!r}; "
            f"it knows {', '.join(BUILDERS)}. Upgrade lacvit."
        )
    try:
        return BUILDERS[architecture.source](architecture, input_spec, origin)
    except (RuntimeError, TypeError, ValueError, LookupError) as error:
        library = {"timm": "timm", "hf": "transformers"}[architecture.source]
        raise InputError(
            f"{library} {version(library)} cannot build {architecture.name}: {first_line(error)}. "
            f"Install the {library} that the model was made with, or a newer one."
        ) from error


def _split(spec: str) -> tuple[str, str]:
    source, colon, name = spec.partition(":")
    if not (colon and source in SOURCES and name):
        raise InputError(f"There is no backbone {spec!r}. {_advice(spec)}")
    return source, name


def _advice(spec: str) -> str:
    near = difflib.get_close_matches(spec, ["pico"], n=1)
    if near:
        return f"Did you mean {near[0]!r}? {FORMS}"
    models = timm_models.nearest(spec)
    return f"Did you mean timm:{models[0]}? {FORMS}" if models else FORMS
