"""The weights of a model of transformers: loaded, and every difference from its network refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from torch import Tensor

from lacvit.backbones.hf_families import FAMILIES, LEFT_OVER, Family
from lacvit.backbones.key_differences import differences, misfit, shapes_of, sizes_of
from lacvit.errors import InputError, first_line

AutoModel: Any = transformers.AutoModel
MODELS: Any = transformers.MODEL_MAPPING  # configuration class -> what AutoModel builds of it


def construction(model_type: str) -> dict[str, Any]:
    """Arguments of the network beside its configuration: no pooler that no file fills."""
    pooler = FAMILIES[model_type].pooler if model_type in FAMILIES else None
    return {} if pooler is None else {"add_pooling_layer": pooler}


def with_weights(
    config: Any, tensors: Mapping[str, Tensor], spec: str
) -> tuple[Any, dict[str, Any]]:
    """The encoder in float32, and what transformers says of keys that did not match."""
    try:
        with quiet():
            tower, found = MODELS[type(config)].from_pretrained(
                None,
                config=config,
                state_dict=dict(tensors),
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are listed, and refused here
                **construction(config.model_type),
            )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        said = first_line(error)
        raise InputError(f"{spec} cannot be loaded: {said}") from error
    return tower, found


def check_complete(
    found: dict[str, Any], family: Family, tower: Any, tensors: Mapping[str, Tensor], spec: str
) -> None:
    """Refuse weights of which something found no place, or places that got none.

    Raises:
        InputError: each such key with its shapes, and what the file seems to be of.
    """
    missing = [k for k in found["missing_keys"] if not re.fullmatch(family.fresh, k)]
    strangers = [k for k in found["unexpected_keys"] if not LEFT_OVER.fullmatch(k)]
    mismatched = {key: tuple(shape) for key, shape, _ in found["mismatched_keys"]}
    if not (missing or strangers or mismatched):
        return
    given, wanted = shapes_of(tensors), shapes_of(tower.state_dict())
    own = _own_names(tower, tensors)
    names = [own.get(key, key) for key in strangers]
    faults = differences(
        {**{name: given.get(name) for name in names}, **mismatched},
        {key: wanted[key] for key in (*missing, *mismatched)},
    )
    sizes = sizes_of({k: given[name] for k, name in own.items() if not LEFT_OVER.fullmatch(k)})
    types, written = _types_of(tensors), tower.config.model_type
    advice = ""
    if types and written not in types:
        advice = f"The names in the file are those of the type {' or '.join(types)}; its "
        advice += f"config.json says {written}. Fetch the config.json that belongs to the file."
    elif sizes is not None and sizes != sizes_of(wanted):
        advice = f"The file is of a network {sizes}; its config.json of one {sizes_of(wanted)}."
    raise misfit(f"{spec} does not fit its own config.json", faults, advice)


def _types_of(tensors: Mapping[str, Tensor]) -> list[str]:
    """The families whose usual network has tensors of these names, at whatever depth."""
    fitting = []
    for model_type in FAMILIES.keys() & transformers.CONFIG_MAPPING.keys():
        config = transformers.AutoConfig.for_model(model_type)
        with quiet(), torch.device("meta"):
            tower = AutoModel.from_config(config, **construction(model_type))
        if _forms(_own_names(tower, tensors)) == _forms(tower.state_dict()):
            fitting.append(model_type)
    return sorted(fitting)


def _forms(names: Iterable[str]) -> set[str]:
    """Names of the encoder's tensors without the numbers of their blocks."""
    return {re.sub(r"\d+", "#", name) for name in names if not LEFT_OVER.fullmatch(name)}


def _own_names(tower: Any, names: Iterable[str]) -> dict[str, str]:
    """What transformers makes of the names in a file, in its lists of keys -> those names."""
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import (
            WeightConverter,
            WeightRenaming,
            rename_source_key,
        )

        rules = get_model_conversion_mapping(tower)
        renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
        converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
        how = renamings, converters, tower.base_model_prefix, tower.state_dict()
        return {rename_source_key(name, *how)[0]: name for name in names}
    except (ImportError, TypeError, AttributeError, KeyError, ValueError):
        # Another version of transformers: strangers are listed as they came.
        return {name: name for name in names}


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bars and reports of keys, which are checked here."""
    log: Any = transformers.utils.logging
    verbosity, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bar:
            log.enable_progress_bar()
