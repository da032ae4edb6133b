"""Checkpoints of a stage: whole or absent, verified, and nothing in them can run.

``checkpoints/epoch-00012/`` holds ``model.safetensors``, ``optimizer.safetensors`` and
``state.json`` with the sha256 of both. It is written beside its place and renamed into it, so a
kill at any moment leaves the last whole one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lacvit.errors import InputError
from lacvit.run_folder import read_object

MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"


def save(
    folder: Path,
    epoch: int,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write the checkpoint after ``epoch`` epochs, then remove the older ones.

    Raises:
        InputError: the disk is full or the folder cannot be written; the older one, if any, stands.
    """
    place = folder / f"epoch-{epoch:05d}"
    building = folder / f".epoch-{epoch:05d}.tmp"
    try:
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        save_file(_flatten_modules(modules), building / MODEL)
        save_file(_flatten_optimizer(optimizer), building / OPTIMIZER)
        sums = {name: _sha256(building / name) for name in (MODEL, OPTIMIZER)}
        (building / STATE).write_text(json.dumps({"epoch": epoch, "sha256": sums}, indent=2))
        for file in building.iterdir():
            _flush(file)
        shutil.rmtree(place, ignore_errors=True)
        building.rename(place)
    except (OSError, SafetensorError) as error:  # safetensors has its own for a full disk
        shutil.rmtree(building, ignore_errors=True)
        said = (error.strerror if isinstance(error, OSError) else None) or error
        kept = "The checkpoint before it is whole: free" if _whole(folder) else "Free"
        raise InputError(
            f"{place} cannot be written: {said}. {kept} some space and give the same command again."
        ) from error
    for older in _whole(folder)[:-1]:
        shutil.rmtree(older, ignore_errors=True)


def restore(
    folder: Path,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
) -> int:
    """Load the latest checkpoint in place; gives the epochs it had done, 0 where there is none.

    Raises:
        InputError: its files are damaged, or belong to another network.
    """
    whole = _whole(folder)
    if not whole:
        return 0
    place = whole[-1]
    delete = f"Delete {folder} to train that stage again."
    state = read_object(place / STATE, delete)
    for name in (MODEL, OPTIMIZER):
        if not (place / name).exists() or _sha256(place / name) != state["sha256"][name]:
            raise InputError(
                f"{place / name} is damaged: its sha256 is not the one recorded. {delete}"
            )
    tensors = load_file(place / MODEL)
    for name, module in modules.items():
        own = {
            key.removeprefix(f"{name}."): tensor
            for key, tensor in tensors.items()
            if key.startswith(f"{name}.")
        }
        try:
            module.load_state_dict(own)
        except RuntimeError as error:
            raise InputError(f"{place} was made by another network: {error}") from error
    _load_optimizer(optimizer, load_file(place / OPTIMIZER))
    epoch: int = state["epoch"]
    return epoch


def _whole(folder: Path) -> list[Path]:
    return sorted(place for place in folder.glob("epoch-*") if (place / STATE).exists())


def _flatten_modules(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": tensor.detach().contiguous()
        for name, module in modules.items()
        for key, tensor in module.state_dict().items()
    }


def _flatten_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{index}.{key}": torch.as_tensor(value).detach().contiguous()
        for index, entries in state.items()
        for key, value in entries.items()
        if value is not None
    }


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
