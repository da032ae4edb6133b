"""``lacvit compare``."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from lacvit.arms import ARMS, COMPARED
from lacvit.cli.options import Download, Root
from lacvit.config import (
    OF_ITS_BUDGET,
    OF_ONE_RUN,
    contradictory_assignments,
    has_effect,
    parse_assignment,
    read_recipe,
)
from lacvit.errors import InputError


def compare(
    data: Annotated[
        list[str] | None,
        typer.Argument(
            help="As for lacvit train. The recipe may name it instead. Several sets are compared "
            "one after the other, each in its own folder below --output, and set in one table.",
            show_default=False,
        ),
    ] = None,
    root: Root = None,
    download: Download = False,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Where it all goes [default: comparisons/<data>; comparisons/ for several sets]"
        ),
    ] = None,
    methods: Annotated[
        str, typer.Option(help=f"Which to compare, of: {', '.join(ARMS)}.")
    ] = ",".join(COMPARED),
    backbones: Annotated[str, typer.Option(help="Each is compared on its own.")] = "auto",
    shots: Annotated[
        str | None,
        typer.Option(help="Images a class to train on, such as 10,50; drawn anew by each seed."),
    ] = None,
    hold_out_classes: Annotated[
        str | None,
        typer.Option(
            help="Classes never trained on, such as cat,dog, or how many to draw: how well each "
            "method's encoder tells them apart, and from the others.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each method.")] = 5,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="N epochs of two views, and as many images for cross-entropy [default: 100]",
            show_default=False,
        ),
    ] = None,
    trials: Annotated[
        int,
        typer.Option(
            help="Settings that each method tries first, the same number for all: itself, other "
            "learning rates, then other views, temperatures, smoothing. Judged on validation "
            "images alone, under a seed of their own; linear-probe and knn choose so anyway."
        ),
    ] = 0,
    budget: Annotated[
        str,
        typer.Option(
            help="equal-images: every method sees as many images; equal-time: epochs are scaled "
            "until every method trains as long as lacvit, by timed steps."
        ),
    ] = "equal-images",
    pick: Annotated[
        bool,
        typer.Option(
            "--pick",
            help="Keep the model of the method that validation prefers, so that lacvit predict "
            "takes the output folder.",
        ),
    ] = False,
    margin: Annotated[
        float, typer.Option(help="Methods closer than this many points are called equal.")
    ] = 1.0,
    recipe: Annotated[Path | None, typer.Option(help="TOML file of settings for all runs.")] = None,
    assign: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="Any setting (lacvit settings lists them); may be repeated.",
        ),
    ] = None,
    fail_below: Annotated[
        float | None,
        typer.Option(
            help="Exit with 1 unless lacvit (or the last method) is at least this many points "
            "above each other method in every cell, such as -1.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option(help="Show the runs and how long they take; write nothing.")
    ] = False,
    quiet: Annotated[bool, typer.Option(help="Only the result.")] = False,
    json_logs: Annotated[bool, typer.Option(help="Progress as JSON lines on stderr.")] = False,
) -> None:
    """Which method is best on your own images, by how much, and how sure that is.

    Every method meets the same images, splits, seeds and image passes (cross-entropy-paper a tenth
    of them, as the released code has it); the test split is read once a run, at its end, and
    chooses nothing. A comparison that was stopped goes on by the same command, and a run that has
    ended is never repeated. An encoder that two methods train by the same settings, as
    cross-entropy and cross-entropy-refit do, is trained once.

    lacvit here is not all that lacvit train does where no method is named. Here every method has
    100 epochs, the same rule for its rate, and a head fitted on training images alone that reads
    whole images. There it has 25 to 60 epochs, and a head fitted on validation images too, which
    at 32 pixels reads corners; for encoders pretrained without labels it has twice the rate and
    is cross-entropy-refit. --set head.fit_on=all and --set features.crops=corners give such a
    head to every method that fits one: all of the four but cross-entropy.

    Several sets: lacvit compare photos/ cub200 --root sets/ ends in one table of them all.

    First thoughts: lacvit compare photos/ --dry-run. The whole: lacvit compare photos/ --seeds 5
    --trials 4 --pick, then lacvit predict comparisons/photos IMAGE...
    """
    # A recipe, such as the settings of a run, may name what the comparison decides itself.
    of_all = read_recipe(recipe) if recipe else {}
    decided = {**OF_ONE_RUN, **dict.fromkeys(OF_ITS_BUDGET, "--epochs")}
    given = {key: value for key, value in of_all.items() if key not in decided}
    if left_out := [f"{key} ({flag})" for key, flag in decided.items() if key in of_all]:
        said = f"Left out of {recipe}, and said by flags here: {', '.join(left_out)}."
        print(said, file=sys.stderr)
    assignments = [parse_assignment(text) for text in assign or ()]
    if faults := contradictory_assignments(assignments):
        raise InputError("\n".join(faults))
    assigned = dict(assignments)
    flags = {
        "data.root": None if root is None else str(root),
        "data.hold_out_classes": hold_out_classes,
        "contrastive.epochs": epochs,
    }
    _refuse_disagreement(assigned, {**flags, "data.path": data[0] if data else None})
    given |= assigned
    _check_used(assigned, given, _names(methods))
    given |= {key: value for key, value in flags.items() if value is not None}
    sets = data or [str(given[key]) for key in ("data.path",) if key in given]
    if not sets:
        raise InputError("No images are named: lacvit compare DATA, or data.path in the recipe.")
    folder = output or Path("comparisons")
    from lacvit.comparison import Request
    from lacvit.naming import name_of

    request = Request(
        output=folder if output or len(sets) > 1 else folder / name_of(sets[0]),
        methods=_names(methods),
        backbones=_names(backbones),
        shots=_numbers(shots),
        seeds=seeds,
        margin=margin / 100,
        trials=trials,
        budget=budget,
        pick=pick,
    )
    switches = (download, dry_run, quiet, json_logs)
    _run(given, sets, request, fail_below, switches)


def _refuse_disagreement(assigned: dict[str, object], flags: dict[str, object]) -> None:
    for key, value in flags.items():
        if value is not None and assigned.get(key, value) != value:
            raise InputError(
                f"{key} is {value!r} by its flag and {assigned[key]!r} by --set; give one of them."
            )


def _check_used(
    assigned: dict[str, object], given: dict[str, object], methods: tuple[str, ...]
) -> None:
    """What is set by hand must matter to one method at least."""
    for key in assigned:
        if methods and not any(has_effect(key, method, given) for method in methods):
            raise InputError(
                f"{key} has no effect with any of --methods {','.join(methods)}; leave it out, or "
                f"compare a method that reads it."
            )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _numbers(text: str | None) -> tuple[int | None, ...]:
    if text is None:
        return (None,)
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise InputError(f"--shots is {text!r}; give whole numbers, such as 10,50.") from None


def _run(
    given: dict[str, object],
    sets: Sequence[str],
    request: Any,
    fail_below: float | None,
    switches: tuple[bool, bool, bool, bool],
) -> None:
    download, dry_run, quiet, json_logs = switches
    from lacvit.cli.compared import show_all, tell
    from lacvit.cli.signals import stop_on_signals
    from lacvit.comparison import compare as run_comparison
    from lacvit.comparison import (
        compare_several,
        given_for_each,
        plan,
        requests_of,
        shortfalls,
        table_of,
    )
    from lacvit.progress import make_progress

    if fail_below is not None and not math.isfinite(fail_below):
        raise InputError(f"--fail-below is {fail_below}; give points, such as -1 or 0.")
    progress = make_progress(quiet=quiet, json_logs=json_logs, brief=True)
    if download:
        _fetch(sets, given, request)
    if dry_run:
        of_each = given_for_each(given, sets)
        asked = requests_of(request, sets) if len(sets) > 1 else {sets[0]: request}
        for path, of_set in asked.items():
            heading = [f"{path}:"] if len(sets) > 1 else []
            print("\n".join([*heading, *plan(of_each[path], of_set, progress)]))
        return
    with stop_on_signals():
        if len(sets) > 1:
            comparisons = compare_several(given, request, sets, progress)
        else:
            comparisons = (run_comparison({**given, "data.path": sets[0]}, request, progress),)
    for path, comparison in zip(sets, comparisons, strict=True):
        if len(sets) > 1:
            print(f"\n{path}")
        tell(comparison, request, quiet=quiet)
    if len(comparisons) > 1:
        show_all([comparison.figures for comparison in comparisons])
        print(f"\nTable: {table_of(request, sets, 'md')}, .tex, .csv and .json")
    if fail_below is None:
        return
    short = [
        (comparison.figures["data"], words)
        for comparison in comparisons
        for words in shortfalls(comparison.figures, fail_below)
    ]
    for path, words in short:
        where = f" ({path})" if len(sets) > 1 else ""
        print(f"Below --fail-below {fail_below:g}{where}: {words}")
    if short:
        raise typer.Exit(1)


def _fetch(sets: Sequence[str], given: dict[str, object], request: Any) -> None:
    """Every set that torchvision can fetch, once the rest of the command was found right."""
    from lacvit.comparison import check_request
    from lacvit.data.named_sets import names_a_set
    from lacvit.downloads import fetch

    check_request(given, request)
    root = None if (at := given.get("data.root")) is None else str(at)
    for path in sets:
        if len(sets) == 1 or names_a_set(path, root):
            fetch(path, root)
