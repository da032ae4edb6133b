"""``lacvit check``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from lacvit.cli.options import Download, Form, Format, Root, fetch_if_asked

if TYPE_CHECKING:
    from lacvit.data.inventory import Inventory

SHOWN = 20  # faults of one kind that the text names; JSON has all


def check(
    data: Annotated[str, typer.Argument(help="Labelled images, as for lacvit train.")],
    form: Form = Format.text,
    root: Root = None,
    download: Download = False,
) -> None:
    """Say what lacvit understands of labelled images: splits, classes, counts, faults.

    Every image is decoded once. Unreadable files are named, and exact duplicates (equal pixels)
    within a split and across splits. Nothing is changed. Exits with 1 where lacvit train would
    refuse the data.
    """
    fetch_if_asked(download, data, root)
    from lacvit.data.decoding import decoding_threads
    from lacvit.data.inventory import take_inventory

    found = take_inventory(data, root, workers=decoding_threads())
    if form == Format.json:
        print(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(found)))
    if any(fault.action == "refused" for fault in found.faults):
        raise typer.Exit(1)


def _lines(found: Inventory) -> Iterator[str]:
    for split, count in found.splits.items():
        here = sum(counts[split] > 0 for counts in found.classes.values())
        drawn = " (drawn from the others, as lacvit train does)" * (split in found.drawn)
        yield f"{split + ':':<6} {count:,} images in {here} of {len(found.classes)} classes{drawn}"
    width = max(len("class"), *map(len, found.classes))
    yield ""
    yield f"{'class':<{width}}  " + "  ".join(f"{split:>7}" for split in found.splits)
    for name, counts in found.classes.items():
        yield f"{name:<{width}}  " + "  ".join(f"{count:>7,}" for count in counts.values())
    yield ""
    for notice in found.notices:
        yield f"Note: {notice}"
    if not found.faults:
        yield "No faults: every image can be read, and no two have the same pixels."
    for kind, group in groupby(found.faults, key=lambda fault: fault.kind):
        faults = list(group)
        yield f"{kind}: {len(faults)}"
        for fault in faults[:SHOWN]:
            yield f"  {fault.path}: {fault.action}; {fault.reason}"
        if len(faults) > SHOWN:
            yield f"  and {len(faults) - SHOWN} more; --format json lists all"
