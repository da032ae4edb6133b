"""Public image sets fetched by torchvision, where it can; on request only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from lacvit.backbones.torchvision_shim import ensure_torchvision
from lacvit.data.named_sets import NAMED_SETS, find_named_set, names_a_set
from lacvit.errors import InputError, first_line

ensure_torchvision()

from torchvision import datasets  # noqa: E402  (must follow the shim)

# Each fetches the archive, checks its sum and unpacks it below the root, as `named_sets` reads it.
DOWNLOADS: Mapping[str, Callable[[Path], object]] = {
    "cifar10": lambda root: datasets.CIFAR10(root, download=True),
    "cifar100": lambda root: datasets.CIFAR100(root, download=True),
    "flowers102": lambda root: datasets.Flowers102(root, download=True),
    "oxford-pets": lambda root: datasets.OxfordIIITPet(root, download=True),
    "caltech256": lambda root: datasets.Caltech256(root, download=True),
}


def fetch(data: str | Path, root: str | Path | None) -> bool:
    """Download the set ``data`` into ``root`` unless it is there; True where it was fetched.

    Raises:
        InputError: ``data`` is no set's name, torchvision cannot fetch it, or the download failed.
    """
    name = str(data)
    if not names_a_set(name, root):
        raise InputError(
            f"--download fetches a set by its name, and {data} is none (or is a path that exists; "
            f"then give --root too). It knows {', '.join(DOWNLOADS)}."
        )
    if find_named_set(name, root) is not None:
        return False
    place, entry = Path(root or "."), NAMED_SETS[name]
    if name not in DOWNLOADS:
        raise InputError(
            f"{name} cannot be downloaded: torchvision has no working address for it. "
            f"Get {entry.source}, and unpack it in {place}."
        )
    place.mkdir(parents=True, exist_ok=True)
    try:
        DOWNLOADS[name](place)
    except (OSError, RuntimeError, ValueError) as error:  # URLError is an OSError
        said = first_line(error)
        raise InputError(
            f"{name} could not be downloaded: {said}. Get {entry.source}, and unpack it in {place}."
        ) from error
    return True
