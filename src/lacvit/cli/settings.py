"""``lacvit settings``."""

from __future__ import annotations

import json
from fnmatch import fnmatch
from typing import Annotated

import typer

from lacvit.config import all_keys, default_of
from lacvit.errors import InputError

ABOUT = (
    "# Every setting of a run, at its default. To change one: --set section.key=value, or take\n"
    "# away its first # and give this file as --recipe."
)


def settings(
    pattern: Annotated[
        str,
        typer.Argument(
            help="Part of a name, such as head or lr; or 'head.*', quoted for the shell's sake."
        ),
    ] = "*",
) -> None:
    """Every setting that --set and recipes take, with its default and what it does.

    What is printed is a recipe in which everything is commented out: lacvit settings > mine.toml,
    change a few, then lacvit train photos/ --recipe mine.toml. The settings.toml of a run is a
    recipe too, of what that run came to.
    """
    wanted = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    found = {key: text for key, text in all_keys().items() if fnmatch(key, wanted)}
    if not found:
        raise InputError(f"No setting's name has {pattern!r}; lacvit settings lists them all.")
    lines = [ABOUT]
    section = ""
    for key, text in found.items():
        above, _, name = key.rpartition(".")
        if above != section:
            lines += ["", f"[{above}]"]
            section = above
        default = default_of(key)
        value = "..." if default is None else json.dumps(default)
        lines.append(f"# {name} = {value}  # {text}")
    print("\n".join(lines))
