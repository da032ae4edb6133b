"""The Python interface: what ``lacvit.train``, ``lacvit.evaluate`` and ``lacvit.load`` are."""

from __future__ import annotations

from pathlib import Path

from lacvit import pipeline, planning
from lacvit.config import RunSettings, make_settings, read_recipe
from lacvit.evaluation import evaluate as measuring
from lacvit.model import Classifier, load

__all__ = ["evaluate", "load", "train"]


def train(
    data: str | Path | None = None,
    *,
    output: str | Path | None = None,
    backbone: str | None = None,
    method: str | None = None,
    seed: int | None = None,
    settings: RunSettings | str | Path | None = None,
) -> pipeline.TrainResult:
    """Train a classifier on labelled images, or go on with the same run where it was left.

    Args:
        data: folder of class folders, or Parquet file or folder; may stand in ``settings``.
        output: the run folder; by default ``runs/<data>-<method>-<backbone>-s<seed>``.
        backbone: ``pico``, ``timm:NAME`` or ``file:PATH``.
        method: an arm of :mod:`lacvit.arms`.
        seed: draws shots, batches, views and fresh weights.
        settings: everything else, as a ``RunSettings`` or the path of a recipe. The arguments
            above beat it.

    Raises:
        InputError: something that the caller can mend; the message says what and how.
    """
    flags: dict[str, object] = {
        "data.path": None if data is None else str(data),
        "backbone.spec": backbone,
        "method": method,
        "seed": seed,
    }
    if isinstance(settings, RunSettings):
        recipe = planning.request_of(settings)
    else:
        recipe = {} if settings is None else read_recipe(Path(settings))
    folder = None if output is None else Path(output)
    return pipeline.train(
        make_settings(recipe=recipe, flags=flags), pipeline.Request(output=folder)
    )


def evaluate(
    model: Classifier | str | Path, data: str | Path, *, split: str = "test"
) -> measuring.Evaluation:
    """A model's answers on labelled images, and their accuracy.

    Args:
        model: a classifier, or the folder of one.
        data: as for :func:`train`; where it has no splits, every image is used.
        split: which split.

    Raises:
        InputError: no model, no such split, or classes that the model does not know.
    """
    classifier = model if isinstance(model, Classifier) else load(model)
    return measuring.evaluate(classifier, Path(data), split=split)
