"""What was asked for, as dotted settings before ``auto`` is resolved: do two requests agree?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

PLACES = ("data.path", "data.root")  # settings that say where images lie


def same_request(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether two requests say the same, however they spell where the images lie."""
    return _spelt_out(one) == _spelt_out(other)


def _spelt_out(request: Mapping[str, object]) -> dict[str, object]:
    """With whole paths; the name of a set comes to the same one each time."""
    places = {key: Path(str(request[key])).resolve() for key in PLACES if request.get(key)}
    return {**request, **places}


def differences(earlier: Mapping[str, object], request: Mapping[str, object]) -> str:
    """What two requests say differently, in words; the first few settings."""
    there, here = _spelt_out(earlier), _spelt_out(request)
    keys = [key for key in sorted(there | here) if there.get(key) != here.get(key)]
    told = ((key, earlier.get(key), request.get(key)) for key in keys[:5])
    return "; ".join(f"{key} is {one!r} there, {other!r} here" for key, one, other in told)
