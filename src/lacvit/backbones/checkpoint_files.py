"""Reading a file of weights of unknown origin, without executing anything in it.

The bytes say what a file is, never its name; a name that says something else is refused.
"""

from __future__ import annotations

import argparse
import codecs
import hashlib
import pickletools
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from lacvit.errors import InputError, first_line

# Where training programs keep the weights, in the order in which it is looked for: most under
# `model`, DeepSpeed under `module`, DINO's averaged network under `teacher`.
CONTAINERS = ("model", "module", "teacher")

NAMED_AFTER = {
    ".safetensors": "safetensors",
    ".npz": "npz",
    ".pth": "torch",
    ".pt": "torch",
    ".bin": "torch",
    ".ckpt": "torch",
}
KINDS = {
    "safetensors": "a safetensors file",
    "npz": "an archive of NumPy arrays",
    "torch": "a checkpoint of torch",
}
PICKLE_BYTES = 2**16
TORCH_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how torch < 1.6 begins a file
ZIP, LFS, MARKUP = (
    b"PK\x03\x04",
    b"version https://git-lfs",
    (b"<!doctype html", b"<html", b"<?xml", b"<!--"),
)


@dataclass(frozen=True)
class CheckpointFile:
    """What stands in a file of weights."""

    path: Path
    tensors: Mapping[str, Tensor]  # as stored; npz arrays in JAX's own layout
    under: str  # the key they stand under, empty at the top
    beside: tuple[str, ...]  # the file's other top-level keys
    arguments: Mapping[str, Any]  # of the program that wrote it, where it kept them in `args`
    sha256: str


class _SettableLikeOrderedDict(type):
    """torch's restricted reader sets items of dict, OrderedDict and Counter alone."""

    def __eq__(cls, other: object) -> bool:
        return other is OrderedDict or type.__eq__(cls, other)

    __hash__ = type.__hash__


class InertDict(OrderedDict[str, Any], metaclass=_SettableLikeOrderedDict):
    """Stands in for the dictionary classes of yacs and attrdict: keeps the items, does nothing."""

    def __setstate__(self, state: object) -> None:
        pass


class Inert:
    """Stands in for an object of no use here."""

    def __setstate__(self, state: object) -> None:
        pass


NUMPY_SCALAR = np.float64(0).__reduce__()[0]  # what makes a scalar from its type and bytes
# What torch's restricted reader may build beside tensors and plain Python: NumPy's scalars by
# both of their module's names, and stand-ins for what the authors' training programs saved.
ALLOWED: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "u1", "?")),
    (NUMPY_SCALAR, "numpy.core.multiarray.scalar"),
    (NUMPY_SCALAR, "numpy._core.multiarray.scalar"),
    (tuple, "builtins.tuple"),
    (InertDict, "yacs.config.CfgNode"),
    (InertDict, "attrdict.AttrDict"),
    (InertDict, "attrdict.dictionary.AttrDict"),
    (Inert, "attrdict.mapping.AttrMap"),
]


def check_file(path: Path) -> None:
    """Refuse what is no file.

    Raises:
        InputError: a folder, or nothing.
    """
    if path.is_dir():
        raise InputError(
            f"{path} is a folder. Name the file of weights in it; a folder of transformers or timm "
            f"is named by hf:{path} or timm:{path}."
        )
    if not path.is_file():
        raise InputError(f"There is no checkpoint {path}. Check the path after file:")


def read_checkpoint(path: Path) -> CheckpointFile:
    """The tensors of a file and what stands beside them.

    Raises:
        InputError: missing, damaged, no weights at all (what was found is said), named like
            another kind of file, or a pickle that needs to run code (what it needs is named).
    """
    check_file(path)
    try:
        kind = _kind(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    if kind not in KINDS:
        raise InputError(_no_checkpoint(path, kind))
    if NAMED_AFTER.get(path.suffix, kind) != kind:
        suffix = next(s for s, named in NAMED_AFTER.items() if named == kind)
        raise InputError(
            f"{path} is named like {KINDS[NAMED_AFTER[path.suffix]]}, but is {KINDS[kind]}. "
            f"Rename it to {path.with_suffix(suffix).name}, if that is what you expect."
        )
    try:
        contents = _read(path, kind)
    except Exception as error:  # damaged bytes make the readers fail in any way at all
        raise InputError(_why_unreadable(path, kind, error)) from error
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return _unwrap(path, contents, sha256)


def _read(path: Path, kind: str) -> object:
    if kind == "safetensors":
        return load_file(path)
    if kind == "npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {key: torch.from_numpy(arrays[key]) for key in arrays.files}
    with torch.serialization.safe_globals(ALLOWED), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected pickle protocol")  # what fails is said below
        return torch.load(path, map_location="cpu", weights_only=True)


def _unwrap(path: Path, contents: object, sha256: str) -> CheckpointFile:
    whole = contents if isinstance(contents, dict) else {}
    under = next((key for key in CONTAINERS if isinstance(whole.get(key), dict)), "")
    inner = whole[under] if under else whole
    tensors = {str(key): value for key, value in inner.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(
            f"{path} holds no tensors, neither at its top nor under "
            f"{', '.join(repr(key) for key in CONTAINERS)}."
        )
    if all(key.startswith("module.") for key in tensors):  # saved from inside a parallel wrapper
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    arguments = whole.get("args")
    return CheckpointFile(
        path=path,
        tensors=tensors,
        under=under,
        beside=tuple(str(key) for key in whole if under and key != under),
        arguments=vars(arguments) if isinstance(arguments, argparse.Namespace) else {},
        sha256=sha256,
    )


def _kind(path: Path) -> str:
    """One of KINDS, or what else was found, in words."""
    with path.open("rb") as file:
        head = file.read(512)
    size = path.stat().st_size
    text = head.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    if not head:
        return "an empty file"
    if head.startswith(LFS):
        return "a Git LFS pointer, which only names the real file: run git lfs pull"
    if text.startswith(MARKUP):
        title = re.search(rb"<title>\s*(.*?)\s*</title>", head, re.IGNORECASE | re.DOTALL)
        return f"a web page titled {title[1].decode(errors='replace')!r}" if title else "a web page"
    # Before the pickles: its first byte is of the header's length, and can be any.
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size:
        return "safetensors"
    if head.startswith(ZIP):
        return _kind_of_archive(path)
    if head.startswith(TORCH_MAGIC):
        return "torch"
    if head.startswith(b"\x80"):
        needed = _names_in_pickle(path)
        calls = f", which would call {', '.join(needed)} when loaded" if needed else ""
        return f"a pickle that torch did not write{calls}"
    if len(head) > 8 and head[8:9] == b"{":
        return "safetensors"
    return f"a file of {size} bytes that begins with {head[:16]!r}"


def _names_in_pickle(path: Path) -> list[str]:
    """What the beginning of a pickle imports; it is read as a list of operations, and not run."""
    found: list[str] = []
    strings: list[str] = []
    with path.open("rb") as file, suppress(Exception):  # it may end, or be none, anywhere
        for operation, argument, _ in pickletools.genops(file.read(PICKLE_BYTES)):
            if operation.name == "GLOBAL":
                found.append(str(argument).replace(" ", "."))
            elif operation.name == "STACK_GLOBAL":
                found.append(".".join(strings[-2:]))
            elif isinstance(argument, str):
                strings.append(argument)
    return found[:3]


def _kind_of_archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return "a zip archive that is cut short"
    if any(name.rpartition("/")[2] == "constants.pkl" for name in names):
        return "a TorchScript program, not its weights: save its state_dict() with torch"
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        return "torch"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    return f"a zip archive of other files ({', '.join(names[:3])})"


def _no_checkpoint(path: Path, found: str) -> str:
    return (
        f"{path} is no whole checkpoint of torch, safetensors or NumPy: found {found}. "
        f"Fetch it again, and compare its size or sha256."
    )


def _why_unreadable(path: Path, kind: str, error: Exception) -> str:
    said = first_line(error)
    needed = _unsafe_globals(path, str(error)) if kind == "torch" else []
    if kind == "npz" and "allow_pickle" in said:
        needed = ["an array of Python objects"]
    if needed:
        return (
            f"{path} would run code when loaded (it needs {', '.join(needed)}). Nothing was run. "
            f"Save its tensors as safetensors where you trust it, and use that file."
        )
    if "Unsupported operand" in str(error):
        return (
            f"{path} is pickled in a way that cannot be read without running it (a protocol above "
            f"2). Save its tensors as safetensors where you trust it, and use that file."
        )
    if "weights_only" in said:  # torch goes on with advice to run what is in the file
        said = said.partition(". ")[0]
    return _no_checkpoint(path, f"{KINDS[kind]} that is cut short or damaged ({said})")


def _unsafe_globals(path: Path, said: str) -> list[str]:
    try:
        with torch.serialization.safe_globals(ALLOWED):
            needed = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # the old format, or any damage at all: then the reader's word must do
        needed = []
    return sorted(needed) or re.findall(r"GLOBAL (\S+)", said)[:1]
