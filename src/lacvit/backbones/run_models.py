"""``run:DIR``: the encoder of a finished run, or of a saved model, to start another run from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from lacvit.backbones.backbone import Architecture, Backbone, Origin, Pool
from lacvit.backbones.saved_models import (
    BACKBONE,
    CONFIG,
    COPY,
    WEIGHTS,
    below,
    find_model,
    read_config,
)
from lacvit.errors import InputError, in_one_line
from lacvit.input_spec import InputSpec

Builder = Callable[[Architecture, InputSpec, Origin], Backbone]


def find(name: str) -> Path:
    """The folder of the model in a run folder, in its ``model/``, or in a copy of that.

    Raises:
        InputError: there is none.
    """
    folder = Path(name).expanduser()
    place = find_model(folder)
    if place is None:
        raise InputError(
            f"{folder} holds no model of lacvit: neither config.json nor model/config.json is "
            f"there. Give the folder of a finished run: run:RUN"
        )
    return place


def load(name: str, build: Builder, *, image_size: int | None, pool: Pool | None) -> Backbone:
    """The encoder in a run folder, its ``model/``, or a copy of that.

    Args:
        name: the folder.
        build: makes the network of an architecture.
        image_size: None, or the model's own.
        pool: another way to pool, where the architecture has it.

    Raises:
        InputError: there is no model, it is damaged, or it sees another size.
    """
    place = find(name)
    config = read_config(place / CONFIG)
    try:
        architecture = Architecture.model_validate(config["architecture"])
        spec = InputSpec.model_validate(config["input_spec"])
    except (KeyError, TypeError, ValidationError) as error:
        said = f"{place / CONFIG} is damaged or not lacvit's: {in_one_line(error)}. {COPY}"
        raise InputError(said) from None
    if image_size not in (None, spec.size):
        raise InputError(
            f"run:{name} was trained on {spec.size} x {spec.size} pixels, not {image_size}. "
            f"Leave --image-size out, or start from the backbone that it was made of."
        )
    if pool is not None:
        arguments = architecture.arguments | {"pool": pool}
        architecture = architecture.model_copy(update={"arguments": arguments})
    weights = place / WEIGHTS
    try:
        with weights.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        origin = Origin(spec=f"run:{name}", format="lacvit", sha256=sha256)
        backbone = build(architecture, spec, origin)
        backbone.encoder.load_state_dict(below(BACKBONE, load_file(weights)))
    except (OSError, SafetensorError, RuntimeError) as error:
        said = f"{weights} is missing or damaged: {in_one_line(error)}. {COPY}"
        raise InputError(said) from error
    return backbone
