"""The run folder: where everything stands, and how it is written so that nothing is lost.

Every file is written under a temporary name, flushed to disk, then renamed. Nothing is pickled.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import tomli_w

from lacvit.errors import InputError
from lacvit.requests import differences

# Where the caller knows nothing better.
RESTORE = "Restore it, or make its folder anew with the command that wrote it."


def write_bytes(path: Path, payload: bytes) -> None:
    """Replace ``path`` by ``payload``, whole or not at all.

    Raises:
        InputError: the disk is full, or the folder cannot be written; the older file stands.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise _cannot_write(path, error) from error


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` in UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` by ``value`` as indented JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_toml(path: Path, table: Mapping[str, Any]) -> None:
    """Replace ``path`` by ``table``; keys without a value (None) are left out."""
    write_text(path, tomli_w.dumps(_without_none(table)))


def read_json(path: Path, advice: str = RESTORE) -> Any:
    """The JSON file at ``path``; ``advice`` is what to do where there is none.

    Raises:
        InputError: it is missing, cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing. {advice}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged: {error}. {advice}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. {advice}") from None


def read_object(path: Path, advice: str = RESTORE) -> dict[str, Any]:
    """The JSON object at ``path``; ``advice`` is what to do where there is none.

    Raises:
        InputError: as :func:`read_json`, or it holds something else.
    """
    value = read_json(path, advice)
    if not isinstance(value, dict):
        raise InputError(f"{path} is damaged: it holds no JSON object. {advice}")
    return value


def _without_none(table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in table.items()
        if value is not None
    }


def _cannot_write(path: Path, error: OSError) -> InputError:
    return InputError(
        f"{path} cannot be written: {error.strerror}. Allow it or free some space, or choose "
        f"another folder with --output; the same command goes on."
    )


@dataclass(frozen=True)
class StageFolder:
    """One stage's corner of a run folder."""

    path: Path
    read_only: bool = False

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def append_metrics(self, line: Mapping[str, object]) -> None:
        """Add one flat object to ``metrics.jsonl``.

        JSON has no NaN and no infinity: a figure that is not finite is left out.
        """
        if self.read_only:
            return
        kept = {
            key: value
            for key, value in line.items()
            if not isinstance(value, float) or math.isfinite(value)
        }
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(kept, allow_nan=False) + "\n")
        except OSError as error:
            raise _cannot_write(self.metrics, error) from error

    def drop_metrics_from(self, epoch: int) -> None:
        """Forget the lines of ``epoch`` and later, so that no epoch stands twice after a resume."""
        if self.metrics.exists() and not self.read_only:
            kept = []
            for line in self.metrics.read_text(encoding="utf-8").splitlines():
                try:
                    if json.loads(line)["epoch"] < epoch:
                        kept.append(line)
                except json.JSONDecodeError:  # a line torn by a kill: its epoch is run again
                    continue
            write_text(self.metrics, "".join(line + "\n" for line in kept))


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run folder, and the few writes that every stage shares.

    Of several processes one writes; the others' folders are ``read_only``, and what they are
    asked to write is left to it.
    """

    path: Path
    read_only: bool = False

    @property
    def settings(self) -> Path:
        return self.path / "settings.toml"

    @property
    def status_file(self) -> Path:
        return self.path / "status.json"

    @property
    def data(self) -> Path:
        return self.path / "data.json"

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def stage(self, name: str) -> StageFolder:
        return StageFolder(self.path / name, self.read_only)

    def status(self) -> dict[str, Any]:
        """``status.json``: stage, epoch, finished, and the request that began the run."""
        return read_object(self.status_file)

    def update_status(self, **changes: object) -> None:
        """Change some keys of ``status.json``."""
        if self.read_only:
            return
        status = self.status() if self.status_file.exists() else {}
        write_json(self.status_file, status | changes)

    def seconds(self, *, first_stage: str | None = None) -> float:
        """Of all its starts, or up to the end of its first stage, whichever run trained that."""
        status = self.status()
        ends: Mapping[str, float] = status.get("seconds_at", {})
        own = ends.get(first_stage, 0.0) if first_stage else status.get("seconds", 0.0)
        return float(own) + float(status.get("taken_over", {}).get("seconds", 0.0))

    def resolved_settings(self) -> dict[str, Any]:
        """``settings.toml`` as it stands.

        Raises:
            InputError: it cannot be read.
        """
        try:
            return tomllib.loads(self.settings.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise InputError(
                f"{self.settings} cannot be read: {error}. Start the run again with --overwrite."
            ) from None


State = Literal["new", "resumed", "finished"]


def inspect(
    path: Path,
    request: Mapping[str, object],
    defaults: Mapping[str, object] = MappingProxyType({}),
    *,
    overwrite: bool,
) -> State:
    """What a folder means to a run, without touching it.

    ``request`` is what was asked for, as dotted settings before ``auto`` is resolved; a folder
    whose run was asked for in the same words is gone on with (``defaults``: see
    :func:`lacvit.requests.differences`). One that was killed before its plan
    was whole (``environment.json`` is written last) has trained nothing yet and starts anew.

    Raises:
        InputError: the folder holds foreign files, or another run and not ``overwrite``.
    """
    try:
        found = _visible(path)
    except FileNotFoundError:
        return "new"
    except NotADirectoryError:
        raise InputError(f"{path} is a file. Choose another folder with --output.") from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}. Choose another folder with --output."
        ) from None
    if not found:
        return "new"
    folder = RunFolder(path)
    status = folder.status() if folder.status_file.exists() else {}
    if not {"request", "finished"} <= status.keys():
        raise InputError(
            f"{path} holds files of something else ({', '.join(found[:3])}). "
            f"Choose an empty folder with --output."
        )
    if overwrite:
        return "new"
    if differing := differences(status["request"], request, defaults):
        raise InputError(
            f"{path} holds another run: {differing}. "
            f"Choose another folder with --output, or replace it with --overwrite."
        )
    if not folder.environment.exists():
        return "new"
    return "finished" if status["finished"] else "resumed"


def begin(path: Path, request: Mapping[str, object]) -> RunFolder:
    """Start a run in a folder that :func:`inspect` called new; what an older run wrote goes.

    Raises:
        InputError: the folder cannot be written.
    """
    folder = RunFolder(path)
    try:
        for name in RUN_ENTRIES:
            entry = path / name
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)
    except OSError as error:
        raise _cannot_write(path, error) from error
    write_json(
        folder.status_file,
        {"stage": None, "epoch": 0, "finished": False, "notices": [], "request": dict(request)},
    )
    return folder


# All that a run writes. Cleared in this order: without `environment.json` nothing is resumed, and
# `status.json` goes last, so that a kill while clearing leaves a run folder.
RUN_ENTRIES = (
    "environment.json", "settings.toml", "data.json", "report.html", "contrastive", "head",
    "cross_entropy", "joint", "evaluation", "model", "figures", "status.json",
)  # fmt: skip


def _visible(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
