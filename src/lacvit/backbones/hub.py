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
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants, errors

from lacvit.errors import InputError, first_line
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
TIMM_FILES = ("model.safetensors", "pytorch_model.bin")
SHA256 = re.compile(r"[0-9a-f]{64}")

SILENT_SECONDS = 10.0
_silent: dict[
    str, float
] = {}  # address of a hub that did not answer -> until when it is left alone

_log = logging.getLogger(__name__)


def cached_file(repository: str, name: str) -> Path | None:
    """A file of ``ORG/NAME`` or ``ORG/NAME@REVISION`` in the cache, if it is there."""
    found = _in_cache(repository, name)
    return Path(found) if isinstance(found, str) else None


def local_folder(name: str) -> Path | None:
    """The folder that ``hf:NAME`` names; None where it is the name of a repository.

    Raises:
        InputError: it is neither.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        raise InputError(
            f"There is no folder {folder}. Write hf:ORG/NAME as on the hub, or hf:FOLDER with a "
            f"config.json and a model.safetensors in it."
        )
    return None


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


def fetch_those_there(repository: str, names: Sequence[str], *, spec: str) -> None:
    """Bring files that a repository may have into the cache, where there is a network.

    Raises:
        InputError: the repository has one, but the download fails or what came is damaged.
    """
    unknown = [name for name in names if _in_cache(repository, name) is None]
    if unknown and reachable():
        for name in unknown:
            with suppress(errors.EntryNotFoundError):
                _download(repository, name, spec)


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
    counts; the environment's proxies are used; ``HF_HUB_OFFLINE=1`` says no. A hub that was silent
    is not waited for again at once: one model asks for several files.
    """
    if constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "") in ("1", "true", "TRUE"):
        return False
    if time.monotonic() < _silent.get(constants.ENDPOINT, 0.0):
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
    if not answers:
        _silent[constants.ENDPOINT] = time.monotonic() + SILENT_SECONDS
    return bool(answers)


def _in_cache(repository: str, name: str) -> object:
    """The path as a string; the cache's mark that the repository has no such file; or None."""
    repository, _, revision = repository.partition("@")
    return huggingface_hub.try_to_load_from_cache(
        repository, name, cache_dir=constants.HF_HUB_CACHE, revision=revision or None
    )


def _parts(index: Path) -> list[str]:
    """The names of the files that hold a model's weights in parts."""
    try:
        return sorted(set(read_json(index, "Fetch it again.")["weight_map"].values()))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index} is no index of weights. Fetch it again.") from error


def _download(repository: str, name: str, spec: str) -> Path:
    """A file brought into the cache; ``EntryNotFoundError`` where the repository has none such."""
    try:
        path, published = _fetch(repository, name)
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
        said = first_line(error)
        advice = "Give the same command again to go on with the download: what is complete is not "
        advice += "fetched twice."
        if isinstance(error, errors.RepositoryNotFoundError | errors.RevisionNotFoundError):
            advice = "Check the name; if it is a private one, log in with: hf auth login."
        raise InputError(
            f"{name} of {spec} could not be downloaded from {constants.ENDPOINT}/{repository}: "
            f"{said}. {advice} Or use --backbone pico, which needs no download."
        ) from error
    _check_sum(path, published, f"{name} of {spec}")
    return path


def _fetch(repository: str, name: str) -> tuple[Path, str]:
    """A file brought into the cache, and what the hub says that it is: its etag."""
    repository, _, revision = repository.partition("@")

    def download() -> Path:
        return Path(
            huggingface_hub.hf_hub_download(
                repository, name, revision=revision or None, cache_dir=constants.HF_HUB_CACHE
            )
        )

    url = huggingface_hub.hf_hub_url(repository, name, revision=revision or None)
    try:
        described = huggingface_hub.get_hf_file_metadata(url)
    except errors.EntryNotFoundError:
        download()  # raises it too, and marks the cache, so that nobody asks again
        raise
    if described.size is not None and described.size > 1_000_000:
        _log.warning("Downloading %s of %s: %.0f MB.", name, repository, described.size / 1e6)
    return download(), described.etag or ""


def _check_sum(path: Path, published: str, called: str) -> None:
    """Refuse, and take out of the cache, a file that is not what the hub says that it is.

    For weights the hub's etag is their sha256; for small files it is a hash of git's. Until this
    has read a file once, other programs may find it in the cache.
    """
    if not SHA256.fullmatch(published):
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != published:
        _delete(path)
        raise InputError(
            f"{called} was damaged on its way here: its sha256 is {found}, and the hub says "
            f"{published}. It was deleted. Give the same command again to fetch it anew; if that "
            f"ends here too, a proxy between here and {constants.ENDPOINT} may change it."
        )


def _delete(path: Path) -> None:
    """A file and every link on the way to it: one left behind would lead to the damaged bytes."""
    while path.is_symlink():
        target = path.parent / path.readlink()
        path.unlink()
        path = target
    path.unlink(missing_ok=True)


def _offline(repository: str, name: str, spec: str) -> str:
    repository = repository.partition("@")[0]
    folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    return (
        f"{spec} is not on this machine, and {constants.ENDPOINT} cannot be reached. It needs "
        f"{name} of {repository}. Where there is a network, run `hf download {repository}`, then "
        f"copy the folder {folder.name} from that machine's cache to {folder} here. Or use "
        f"--backbone pico, which needs no download."
    )
