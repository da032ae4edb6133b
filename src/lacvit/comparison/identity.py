"""Which comparison a folder holds: known by the images' content, not by where they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lacvit import naming, planning
from lacvit.comparison.plan import PlannedRun, Request
from lacvit.config import RunSettings, make_settings
from lacvit.data.records import ImageRecords, some_of
from lacvit.data.splits import Splits, split_manifest
from lacvit.errors import InputError
from lacvit.requests import PLACES, differences
from lacvit.run_folder import RunFolder, read_json, read_object, write_json, write_toml
from lacvit.shared import Shared
from lacvit.training.logs import Progress, Silence

FIGURES = "comparison.json"
OURS = {"runs", "trials"}  # what there may be before the first figures
COPIES_NAMED = 3


def earlier_figures(output: Path) -> dict[str, Any]:
    """The comparison that the folder holds; empty where there is none yet.

    Raises:
        InputError: the folder holds something else.
    """
    if not output.exists():
        return {}
    if not output.is_dir():
        raise InputError(f"{output} is a file. Choose another folder with --output.")
    if (output / FIGURES).exists():
        return read_object(output / FIGURES)
    if any(not e.name.startswith(".") and e.name not in OURS for e in output.iterdir()):
        raise InputError(
            f"{output} holds files of something else. Choose an empty folder with --output."
        )
    return {}


def fingerprint_of(given: Mapping[str, object], shared: Shared, progress: Progress) -> str:
    """Of all images of the data, their classes and their splits, wherever they lie.

    It is the one in ``data.json`` of a run on all of them.

    Raises:
        InputError: data that cannot be read.
    """
    splits = _whole(make_settings(recipe=given), shared, progress)
    fingerprint: str = split_manifest(splits)["fingerprint"]
    return fingerprint


def _whole(settings: RunSettings, shared: Shared, progress: Progress) -> Splits:
    """All images, in the three splits that there would be without folds and few shots."""
    data = settings.data.model_copy(
        update={"shots": None, "folds": None, "fold": None, "fold_repeat": None}
    )
    return shared.splits(settings.model_copy(update={"data": data}), progress)


def check_validation(given: Mapping[str, object], request: Request, shared: Shared) -> None:
    """Every method chooses something, and ``--pick`` among them, by images that do not train.

    Raises:
        InputError: ``data.validation_fraction`` leaves none. Shots come with their own.
    """
    whole = _whole(make_settings(recipe=given), shared, Silence())  # its split was told before
    if whole.validation_trains and None in request.shots:
        raise InputError(
            "data.validation_fraction=0 leaves no image to choose by, and every method chooses "
            "something. Leave it out; over folds --pick keeps a model that trained on all images."
        )


def find_copies(
    given: Mapping[str, object], request: Request, shared: Shared, progress: Progress
) -> dict[str, Any] | None:
    """Test images whose very bytes are among the images that train or validate; None without any.

    Where folds test in turn, any two images with the same bytes are such. Every file is read once
    more, which is little beside the decoding before it; a copy in another format is left to
    `lacvit check`, which compares pixels.

    Raises:
        InputError: there are some, and ``data.strict`` holds.
    """
    settings = make_settings(recipe=given)
    splits = _whole(settings, shared, progress)
    tested = [records for _, records in splits.items()] if request.folds else [splits.test]
    seen: dict[bytes, str] = {}
    if not request.folds:
        for records in (splits.train, splits.validation):
            seen |= _digests(records)
    pairs = []
    for records in tested:
        for index, path in enumerate(records.paths):
            other = seen.get(digest := records.source.digest(index))
            if other is not None:
                pairs.append((path, other))
            elif request.folds:
                seen[digest] = path
    if not pairs:
        return None
    words = _copies_in_words(pairs, sum(map(len, tested)), settings.data.path, request.folds)
    if settings.data.strict:
        raise InputError(f"{words} data.strict refuses any.")
    return {
        "images": len(pairs),
        "of": sum(map(len, tested)),
        "examples": [list(pair) for pair in pairs[:COPIES_NAMED]],
        "words": words,
    }


def _digests(records: ImageRecords) -> dict[bytes, str]:
    return {records.source.digest(index): path for index, path in enumerate(records.paths)}


def _copies_in_words(
    pairs: Sequence[tuple[str, str]], images: int, data: str | None, folds: int | None
) -> str:
    named = some_of([f"{path} is {other}" for path, other in pairs], most=COPIES_NAMED)
    if folds:
        found = f"{len(pairs)} of {images} images are copies of others under another name"
        so = "A fold tests on what the others trained on"
    else:
        found = f"{len(pairs)} of {images} test images train or validate too, under another name"
        so = "Every method has seen them"
    return (
        f"{found} ({named}). {so}: accuracies may be up to {100 * len(pairs) / images:.2g} points "
        f"too high, and differences too small. lacvit check {data} lists copies: take them out "
        f"and compare anew."
    )


def check_same(earlier: Mapping[str, Any], request: Request, data: str, fingerprint: str) -> None:
    """A comparison goes on with the images, trials and budget that it began with, or not at all.

    Raises:
        InputError: it would be another one; what differs is said.
    """
    if not earlier:
        return
    output = request.output
    known = earlier.get("fingerprint")
    if (known is None and earlier.get("data") != data) or known not in (None, fingerprint):
        there = earlier.get("data")
        if there == data:
            raise InputError(
                f"The images of {data} have changed since the comparison in {output} began: "
                f"runs on them would not compare with those that are there. Choose a new folder "
                f"with --output, or bring the images back. Classes that were held out of it "
                f"(--hold-out-classes) must be held out again."
            )
        raise InputError(
            f"{output} holds a comparison on {there!r}, not on {data!r}, whose images are others. "
            f"Choose another folder with --output."
        )
    trials = (earlier.get("trials") or {}).get("each", 0)
    budget = (earlier.get("budget") or {}).get("kind", "equal-images")
    for flag, there, here in (
        ("--trials", trials, request.trials),
        ("--budget", budget, request.budget),
    ):
        if there != here:
            raise InputError(
                f"The comparison in {output} began with {flag} {there}, and this is {here}. "
                f"Give {flag} {there} to go on, or choose a new folder with --output."
            )


def check_same_settings(runs: Sequence[PlannedRun]) -> None:
    """A run that is there must be the one that would be made now.

    Raises:
        InputError: a setting differs; the first run and what differs are named.
    """
    for run in runs:
        folder = RunFolder(run.folder)
        if not folder.status_file.exists():
            continue
        there, here = (
            {key: value for key, value in request.items() if key not in PLACES}
            for request in (folder.status().get("request", {}), naming.request_of(run.settings))
        )
        if differing := differences(there, here, naming.DEFAULTS):
            raise InputError(
                f"{run.folder} was run otherwise: {differing}. Runs compare only "
                f"with the same settings: choose a new folder with --output."
            )


def check_same_images(runs: Sequence[PlannedRun], shared: Shared) -> None:
    """A run that has ended must have had the images, labels and splits that it would have now.

    One that has not is asked the same by the pipeline before it goes on.

    Raises:
        InputError: it had others; the run, the data and what differs are named.
    """
    for run in runs:
        folder = RunFolder(run.folder)
        if not folder.status_file.exists() or not folder.status().get("finished"):
            continue
        there = read_json(folder.data)
        # Methods of one seed share the splits, so that each image is read once a seed.
        here = split_manifest(shared.splits(run.settings, Silence()))
        if there.get("fingerprint") != here["fingerprint"]:
            raise InputError(
                f"{run.folder} is of other images than {run.settings.data.path}: "
                f"{_what_differs(there, here)}. Runs compare only on the same images: delete it to "
                f"have it run anew, or choose a new folder with --output."
            )


def _what_differs(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    classes = set(there.get("class_names", ())) ^ set(here["class_names"])
    if classes:
        return f"its classes differ by {some_of(sorted(classes))}"
    for split, paths in here["paths"].items():
        others = sorted(set(there.get("paths", {}).get(split, ())) ^ set(paths))
        if others:
            return f"its {split} images differ by {some_of(others)}"
    return "the images have the same names and other contents or labels"


def follow_data(runs: Sequence[PlannedRun]) -> None:
    """Tell runs that are there where the images lie now, so that they go on and show them."""
    for run in runs:
        folder = RunFolder(run.folder)
        if not folder.environment.exists():
            continue  # nothing to go on with
        status = folder.status()
        asked = naming.request_of(run.settings)
        places = {key: asked[key] for key in PLACES if key in asked}
        if places == {k: status["request"][k] for k in PLACES if k in status["request"]}:
            continue
        data = planning.anywhere(run.settings.data)
        settings = folder.resolved_settings()
        settings["data"] |= {"path": data.path, "root": data.root}
        manifest = read_json(folder.data) | {"root": data.path, "set_root": data.root}
        write_toml(folder.settings, settings)
        write_json(folder.data, manifest)
        others = {k: v for k, v in status["request"].items() if k not in PLACES}
        folder.update_status(request=others | places)
