"""The Python interface: what ``lacvit.train``, ``lacvit.evaluate`` and ``lacvit.load`` are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lacvit import comparison, naming, pipeline
from lacvit.arms import COMPARED
from lacvit.config import OF_ONE_RUN, RunSettings, flatten, make_settings, read_recipe
from lacvit.evaluation import evaluate as measuring
from lacvit.model import Classifier, load
from lacvit.progress import make_progress

__all__ = ["compare", "evaluate", "load", "train"]

Given = RunSettings | Mapping[str, object] | str | Path


def train(
    data: str | Path | None = None,
    *,
    root: str | Path | None = None,
    output: str | Path | None = None,
    backbone: str | None = None,
    method: str | None = None,
    seed: int | None = None,
    settings: Given | None = None,
    progress: bool = True,
) -> pipeline.TrainResult:
    """Train a classifier on labelled images, or go on with the same run where it was left.

    Args:
        data: folder of class folders, Parquet file or folder, or the name of a set; may stand
            in ``settings``.
        root: where the set lies, if ``data`` is the name of one (``"cub200"``).
        output: the run folder; by default ``runs/<data>-<method>-<backbone>-s<seed>``.
        backbone: ``auto``, ``pico``, ``timm:NAME``, ``hf:ORG/NAME``, ``file:PATH`` or ``run:DIR``.
        method: an arm of :mod:`lacvit.arms`.
        seed: draws shots, batches, views and fresh weights.
        settings: everything else: a mapping (``{"contrastive.epochs": 20}``), the path of a
            recipe, or a ``RunSettings``, of which what was given by hand counts. The arguments
            above beat it.
        progress: show on stderr how far it is.

    Raises:
        InputError: something that the caller can mend; the message says what and how.
    """
    flags: dict[str, object] = {
        "data.path": None if data is None else str(data),
        "data.root": None if root is None else str(root),
        "backbone.spec": backbone,
        "method": method,
        "seed": seed,
    }
    folder = None if output is None else Path(output)
    return pipeline.train(
        make_settings(recipe=_given(settings), flags=flags),
        pipeline.Request(output=folder),
        progress=make_progress(quiet=not progress, json_logs=False),
    )


def compare(
    data: str | Path,
    *,
    root: str | Path | None = None,
    methods: Sequence[str] | None = None,
    backbones: Sequence[str] | None = None,
    seeds: int = 5,
    shots: Sequence[int] | None = None,
    output: str | Path | None = None,
    settings: Given | None = None,
    trials: int = 0,
    budget: str = "equal-images",
    pick: bool = False,
    progress: bool = True,
) -> comparison.Comparison:
    """Compare methods on the same images, splits and seeds, at equal image passes or equal time.

    Args:
        data: as for :func:`train`.
        root: where the set lies, if ``data`` is the name of one (``"cub200"``).
        methods: arms of :mod:`lacvit.arms`; by default linear-probe, cross-entropy,
            cross-entropy-refit and lacvit: with equal passes, not those of :func:`train`.
        backbones: each makes a cell of its own.
        seeds: runs of each method.
        shots: images a class; each number makes a cell of its own.
        output: by default ``comparisons/<data>``; what is finished there is not run again.
        settings: everything else, as for :func:`train`; the same for every run.
        trials: settings that each method tries first, judged on validation images alone.
        budget: ``equal-images``, or ``equal-time``: epochs scaled to lacvit's training time.
        pick: keep the model of the method that validation prefers, for :func:`load`.
        progress: show on stderr how far it is.

    Raises:
        InputError: something that the caller can mend; the message says what and how.
    """
    given = {key: value for key, value in _given(settings).items() if key not in OF_ONE_RUN}
    request = comparison.Request(
        output=Path(output or Path("comparisons") / naming.name_of(data)),
        methods=tuple(methods or COMPARED),
        backbones=tuple(backbones or ("auto",)),
        shots=tuple(shots or (None,)),
        seeds=seeds,
        trials=trials,
        budget=budget,
        pick=pick,
    )
    given |= {"data.path": str(data)} | ({} if root is None else {"data.root": str(root)})
    watcher = make_progress(quiet=not progress, json_logs=False, brief=True)
    return comparison.compare(given, request, watcher)


def _given(settings: Given | None) -> dict[str, object]:
    """As dotted keys, without the defaults: each method overrides these in its own way."""
    if settings is None:
        return {}
    if isinstance(settings, RunSettings):
        return flatten(settings.model_dump(exclude_unset=True))
    return flatten(settings) if isinstance(settings, Mapping) else read_recipe(Path(settings))


def evaluate(
    model: Classifier | str | Path,
    data: str | Path,
    *,
    split: str = "test",
    root: str | Path | None = None,
) -> measuring.Evaluation:
    """A model's answers on labelled images, and their accuracy.

    Args:
        model: a classifier, or the folder of one.
        data: as for :func:`train`; where it has no splits, every image is used.
        split: which split.
        root: where the set lies, if ``data`` is the name of one (``"cub200"``).

    Raises:
        InputError: no model, no such split, or classes that the model does not know.
    """
    classifier = model if isinstance(model, Classifier) else load(model)
    return measuring.evaluate(classifier, data, split=split, root=root)
