"""What a run is called: its request in dotted settings, and the folder that it goes to."""

from __future__ import annotations

import glob
import re
from pathlib import Path

from lacvit.config import RunSettings, flatten
from lacvit.requests import differences
from lacvit.run_folder import RunFolder


def request_of(settings: RunSettings) -> dict[str, object]:
    """What was asked for, as dotted settings without those that have no value, as JSON has them."""
    dumped = flatten(settings.model_dump(mode="json"))
    return {key: value for key, value in dumped.items() if value is not None}


# Every setting; None where it has no value.
DEFAULTS = flatten(RunSettings().model_dump(mode="json"))


def earlier_output(settings: RunSettings, request: dict[str, object]) -> Path | None:
    """The run folder of a command whose backbone is named, or of one given before.

    With ``auto`` the folder's name waits for the choice; a run asked for in the same words is
    found all the same, even if the choice would be another today.
    """
    if settings.backbone.spec != "auto":
        return default_output(settings)
    data = name_of(settings.data.path or "data")
    pattern = f"{glob.escape(data)}-{_called(settings)}-*-s{settings.seed}"
    for path in sorted(Path("runs").glob(pattern)):
        folder = RunFolder(path)
        there = folder.status().get("request") if folder.status_file.exists() else None
        if there and not differences(there, request, DEFAULTS):
            return path
    return None


def default_output(settings: RunSettings) -> Path:
    """``runs/<data>-<method>-<backbone>-s<seed>``: the same command finds its run again."""
    data, backbone = name_of(settings.data.path or "data"), short_name(settings.backbone.spec)
    return Path("runs") / f"{data}-{_called(settings)}-{backbone}-s{settings.seed}"


def _called(settings: RunSettings) -> str:
    """The method in a folder's name, which ``auto`` has before the arm is chosen."""
    return "default" if settings.method == "auto" else settings.method


def name_of(path: str | Path) -> str:
    """What a data set or a model is called where it lies: a folder whole, a file without ending."""
    place = Path(path).expanduser().resolve()
    return place.name if place.is_dir() else place.stem


def short_name(spec: str) -> str:
    """A backbone's spec as part of a folder's name: of a file or folder its last part."""
    source, _, name = spec.partition(":")
    place = Path(name.partition("?")[0]).expanduser()
    short = name_of(place) if source in ("file", "run") or place.is_absolute() else spec
    return re.sub(r"[^\w.-]+", "-", short)
