"""Files of model repositories: from the hub's cache, or downloaded, or a message that helps.

``huggingface_hub`` takes up a dropped connection where it broke, and shares its cache with every
other program. What it lacks is a quick answer where there is no network, one kind of error, and a
comparison with the sha256 that the hub publishes: it compares sizes.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants, errors

from lacvit.errors import InputError
from lacvit.run_folder import read_json

PROBE_SECONDS = 4.0
# What weights are stored in, the best first; an index names the parts of weights in parts.
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
INDEX = ".index.json"
SHA256 = re.compile(r"[0-9a-f]{64}")

_log = logging.getLogger(__name__)


def cached_file(repository: str, name: str) -> Path | None:
    """A file of ``ORG/NAME`` or ``ORG/NAME@REVISION`` in the cache, if it is there."""
    repository, _, revision = repository.partition("@")
    found = huggingface_hub.try_to_load_from_cache(
        repository, name, cache_dir=constants.HF_HUB_CACHE, revision=revision or None
    )
    return Path(found) if isinstance(found, str) else None


def find_file(repository: str, names: Sequence[str], *, spec: str) -> Path:
    """The first of ``names`` that a repository has, from the cache or downloaded.

    Args:
        repository: ``ORG/NAME`` or ``ORG/NAME@REVISION``.
        names: alternatives, the best first.
        spec: the backbone that it is for, to be named in messages.

    Raises:
        InputError: not cached and no network (known within five seconds), no such repository,
            none of the files in it, the download fails, or what came is damaged.
    """
    for name in names:
        if (path := cached_file(repository, name)) is not None:
            return path
    if not reachable():
        raise InputError(_offline(repository, names[0], spec))
    for name in names:
        with suppress(errors.EntryNotFoundError):
            return _download(repository, name, spec)
    raise InputError(f"{constants.ENDPOINT}/{repository} has none of {', '.join(names)}.")


def find_weights(repository: str, *, spec: str) -> Path:
    """The file of weights of a repository, or the index of its parts, which are there too.

    Raises:
        InputError: as :func:`find_file`.
    """
    path = find_file(repository, WEIGHTS, spec=spec)
    if path.name.endswith(INDEX):
        for part in _parts(path):
            find_file(repository, [part], spec=spec)
    return path


def weight_files(folder: Path) -> list[Path]:
    """The files of a folder that hold its weights: one, or the parts that an index names.

    Raises:
        InputError: there are none, a part is missing, or the index is none.
    """
    path = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise InputError(f"{folder} holds no weights: it needs one of {', '.join(WEIGHTS)}.")
    if not path.name.endswith(INDEX):
        return [path]
    parts = _parts(path)
    if missing := [name for name in parts if not (folder / name).is_file()]:
        raise InputError(
            f"{path} names {missing[0]}, which is not there ({len(missing)} of {len(parts)} parts "
            f"are missing). Fetch the whole folder again."
        )
    return [folder / name for name in parts]


def fetch_if_there(repository: str, name: str) -> None:
    """Bring a file that a repository may have into the cache, where there is a network.

    Raises:
        InputError: the repository has it, but the download fails or what came is damaged.
    """
    if cached_file(repository, name) is None and reachable():
        with suppress(errors.EntryNotFoundError):
            _download(repository, name, repository)


@contextmanager
def without_network() -> Iterator[None]:
    """Let nothing in the block download: what it needs is here, or it fails at once."""
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def reachable() -> bool:
    """Whether the hub answers, known within ``PROBE_SECONDS`` whatever the network does.

    In a thread, because a name server that does not answer keeps to no timeout of ours. Any answer
    counts; the environment's proxies are used; ``HF_HUB_OFFLINE=1`` says no.
    """
    if constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "") in ("1", "true", "TRUE"):
        return False
    answers: list[bool] = []

    def ask() -> None:
        request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=PROBE_SECONDS).close()
            answers.append(True)
        except urllib.error.HTTPError as answer:
            answer.close()
            answers.append(True)
        except (OSError, http.client.HTTPException):
            return

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return bool(answers)


def _parts(index: Path) -> list[str]:
    """The names of the files that hold a model's weights in parts."""
    try:
        return sorted(set(read_json(index)["weight_map"].values()))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index} is no index of weights. Fetch it again.") from error


def _download(repository: str, name: str, spec: str) -> Path:
    """A file brought into the cache; ``EntryNotFoundError`` where the repository has none such."""
    try:
        path = _fetch(repository, name)
    except errors.LocalEntryNotFoundError as error:  # the network went away just now
        raise InputError(_offline(repository, name, spec)) from error
    except errors.EntryNotFoundError:
        raise
    except errors.GatedRepoError as error:
        raise InputError(
            f"{spec} is given only to people who accept its terms: do so at "
            f"{constants.ENDPOINT}/{repository}, then log in with: hf auth login"
        ) from error
    except Exception as error:  # of requests, httpx or xet, by version; they share no base
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{name} of {spec} could not be downloaded from {constants.ENDPOINT}/{repository}: "
            f"{said} Check the name, or give the same command again to go on with the download: "
            f"what is complete is not fetched twice."
        ) from error
    _check_sum(path, f"{name} of {spec}")
    return path


def _fetch(repository: str, name: str) -> Path:
    repository, _, revision = repository.partition("@")
    url = huggingface_hub.hf_hub_url(repository, name, revision=revision or None)
    size = huggingface_hub.get_hf_file_metadata(url).size
    if size is not None and size > 1_000_000:
        _log.warning("Downloading %s of %s: %.0f MB.", name, repository, size / 1e6)
    return Path(
        huggingface_hub.hf_hub_download(
            repository, name, revision=revision or None, cache_dir=constants.HF_HUB_CACHE
        )
    )


def _check_sum(path: Path, called: str) -> None:
    """Refuse, and take out of the cache, a file that is not what the hub says that it is.

    The cache's link to a file ends in the hub's etag, which for weights is their sha256. (For
    small files it is a hash of git's; and a file system without links keeps none.)
    """
    stored = path.parent / path.readlink() if path.is_symlink() else path
    if not SHA256.fullmatch(stored.name):
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != stored.name:
        path.unlink(missing_ok=True)
        stored.unlink(missing_ok=True)
        raise InputError(
            f"{called} was damaged on its way here: its sha256 is {found}, and the hub says "
            f"{stored.name}. It was deleted. Give the same command again to fetch it anew; if that "
            f"ends here too, a proxy between here and {constants.ENDPOINT} may change it."
        )


def _offline(repository: str, name: str, spec: str) -> str:
    repository = repository.partition("@")[0]
    folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    return (
        f"{spec} is not on this machine, and {constants.ENDPOINT} cannot be reached. It needs "
        f"{name} of {repository}. Where there is a network, run: hf download {repository} . Then "
        f"copy the folder {folder.name} from that machine's cache to {folder} here. Or use "
        f"--backbone pico, which needs no download."
    )
