"""What was asked for, as dotted settings before ``auto`` is resolved: do two requests agree?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

PLACES = ("data.path", "data.root")  # settings that say where images lie
# What makes a run faster or slower and no other: it goes on whatever these are now.
OF_THE_MACHINE = ("device", "workers", "evaluation.batch_size")
TOLD = 5  # differences in a message


def differences(
    earlier: Mapping[str, object],
    request: Mapping[str, object],
    defaults: Mapping[str, object] = MappingProxyType({}),
) -> str:
    """What two requests say differently, in words; empty where they agree.

    They may spell differently where the images lie, and be of other machines.

    Args:
        earlier: of the run that is there.
        request: of now.
        defaults: every setting of this version, None where it has no value. What a request leaves
            out is at its default: it was not used, or an earlier version had it not. A setting
            that this version has no more is let pass. Without them all that is said counts.
    """
    there, here = ({**defaults, **_spelt_out(one)} for one in (earlier, request))
    keys = [
        key
        for key in sorted(defaults or there | here)
        if there.get(key) != here.get(key) and key not in OF_THE_MACHINE
    ]
    told = ((key, *({**defaults, **one}.get(key) for one in (earlier, request))) for key in keys)
    return "; ".join([f"{key} is {one!r} there, {other!r} here" for key, one, other in told][:TOLD])


def _spelt_out(request: Mapping[str, object]) -> dict[str, object]:
    """With whole paths; the name of a set comes to the same one each time."""
    places = {key: Path(str(request[key])).resolve() for key in PLACES if request.get(key)}
    return {**request, **places}
