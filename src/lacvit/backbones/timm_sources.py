"""What stands after ``timm:``: a released model, a repository of the hub, or a folder.

All three come to the same: timm's name of the architecture, how its weights are described, and
the file that they are in.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models._hub import load_model_config_from_path

from lacvit.backbones import hub
from lacvit.backbones.key_differences import Sizes, shapes_of, sizes_of
from lacvit.errors import InputError

HUB = "hf-hub:"
# What differs between the names of one family: the size, that of a patch, that of the images.
SIZE_WORDS = re.compile(
    r"(?<=_)(xsmall|tiny|little|small|medium|base|large|huge|giant|gigantic|so\d+m)(?=_)"
    r"|(?<=_patch)\d+|(?<=_)\d{3}$"
)


@dataclass(frozen=True)
class TimmSource:
    """A model that timm can build, and where its weights are."""

    spec: str  # as the user named it
    name: str  # timm's name of the architecture, with the tag where it has one
    arguments: dict[str, Any]  # of the architecture, beside its name
    described: dict[str, Any]  # entries that replace those of timm's own description
    weights: Path


def find(name: str) -> TimmSource:
    """The source that ``timm:NAME`` names; its weights are on the disk afterwards.

    Raises:
        InputError: nothing by that name (the nearest are named), or it is neither cached nor to
            be downloaded.
    """
    spec = f"timm:{name}"
    folder = Path(name).expanduser()
    if name.startswith(HUB):
        repository = name.removeprefix(HUB)
        config = hub.find_file(repository, ["config.json"], spec=spec)
        return _described(spec, config, hub.find_file(repository, hub.TIMM_FILES, spec=spec))
    if folder.is_dir():
        return _described(spec, folder / "config.json", _weights_in(folder))
    _check_known(name)
    return TimmSource(spec, name, {}, {}, _released_weights(name, spec))


def check_name(name: str) -> None:
    """Refuse what names no source, as far as that can be told without the hub.

    Raises:
        InputError: as :func:`find`.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        _weights_in(folder)
    elif not name.startswith(HUB):
        _check_known(name)
        _place_of(name)


def nearest(name: str) -> list[str]:
    """Up to three of timm's pretrained models whose names are near."""
    tags: dict[str, list[str]] = {}
    for full in timm.list_models(pretrained=True):
        tags.setdefault(full.split(".")[0], []).append(full)
    bare = name.split(".")[0]
    if bare in tags:
        return difflib.get_close_matches(name, tags[bare], n=3, cutoff=0.0)
    return [min(tags[near]) for near in difflib.get_close_matches(bare, tags, n=3)]


def fitting(name: str, sizes: Sizes) -> str | None:
    """The first of timm's names that differs from ``name`` in size alone and has these sizes.

    Those of one family and one size of patch are few, and built without memory: 0.2 s each.
    """
    family = SIZE_WORDS.sub("#", name.split(".")[0])
    for near in timm.list_models():
        cuts = re.search(r"patch(\d+)", near)
        if SIZE_WORDS.sub("#", near) != family or (cuts and int(cuts[1]) != sizes.patch):
            continue
        with torch.device("meta"):
            network = timm.create_model(near, num_classes=0)
        if sizes_of(shapes_of(network.state_dict())) == sizes:
            return near
    return None


def repository_of(name: str) -> tuple[str, str] | None:
    """The hub's repository and file of a released model's weights, where they are on the hub."""
    described = timm.get_pretrained_cfg(name)
    if described is None or not described.hf_hub_id:
        return None
    return described.hf_hub_id, described.hf_hub_filename or hub.TIMM_FILES[0]


def _weights_in(folder: Path) -> Path:
    weights = [folder / file for file in hub.TIMM_FILES if (folder / file).exists()]
    if not (folder / "config.json").exists() or not weights:
        raise InputError(
            f"{folder} is no model of timm: it needs config.json and one of "
            f"{', '.join(hub.TIMM_FILES)}."
        )
    return weights[0]


def _place_of(name: str) -> tuple[str, str]:
    place = repository_of(name)
    if place is None:
        raise InputError(
            f"timm:{name} is not on the hub: timm fetches it as a pickle without a checksum, which "
            f"lacvit does not. Where transformers has the model, use hf:ORG/NAME (I-JEPA: "
            f"hf:facebook/ijepa_vith14_1k)."
        )
    return place


def _released_weights(name: str, spec: str) -> Path:
    repository, file = _place_of(name)
    return hub.find_file(repository, _safer_first(file), spec=spec)


def _safer_first(file: str) -> list[str]:
    """The names of a file of weights as safetensors, then its own."""
    if file in hub.TIMM_FILES:
        return list(hub.TIMM_FILES)
    if file == "open_clip_pytorch_model.bin":
        return ["open_clip_model.safetensors", file]
    stem, _, ending = file.rpartition(".")
    return [f"{stem}.safetensors", file] if ending == "bin" else [file]


def _described(spec: str, config: Path, weights: Path) -> TimmSource:
    try:
        described, name, arguments = load_model_config_from_path(config.parent)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{config} is no description of a model of timm: {error}. For a model of transformers "
            f"write hf: instead of timm:."
        ) from error
    if not timm.is_model(name):
        raise InputError(
            f"{spec} is of the architecture {name!r}, which timm {timm.__version__} does not have."
        )
    arguments = {k: v for k, v in (arguments or {}).items() if k != "num_classes"}
    if described.get("global_pool"):
        arguments.setdefault("global_pool", described["global_pool"])
    return TimmSource(spec, name, arguments, described, weights)


def _check_known(name: str) -> None:
    released = timm.list_models(pretrained=True)
    if name not in released and name not in {full.split(".")[0] for full in released}:
        raise InputError(
            f"timm has no weights {name!r}. The nearest are: {', '.join(nearest(name)) or 'none'}. "
            f"Write --backbone timm:NAME with one of timm.list_models(pretrained=True), "
            f"timm:hf-hub:ORG/NAME, or timm:FOLDER."
        )
