"""The text that travels with a saved model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lacvit.arms import find_arm
from lacvit.backbones import terms_of
from lacvit.config import RunSettings
from lacvit.features import Crops

PAPER = "https://arxiv.org/abs/2303.18013"


def model_card(
    settings: RunSettings,
    class_names: Sequence[str],
    metrics: Mapping[str, Any],
    crops: Crops | None,
) -> str:
    """Markdown: what the model is, what it scored, how it was made, how to use it.

    The data set is called by its base name: a card is made to be handed on, and the folders of
    the machine it was made on are nobody's business.
    """
    backbone = settings.backbone.spec
    own_head = find_arm(settings.method).stages[-1] == "head"
    knn = own_head and settings.head.solver == "knn"
    head = "the nearest training images' votes for a head" if knn else "a linear head"
    fitted = ", its head fitted on validation images too" if settings.head.fit_on == "all" else ""
    read = ""
    if crops is not None:
        read = (
            f"\nA feature is the mean over {len(crops)} parts of an image (the whole, its corners"
            f"{', two of them and the whole mirrored' if crops.mirror else ''}): `crops` in\n"
            f"`config.json`. A program that encodes whole images alone gives other answers.\n"
        )
    return f"""# {settings.method} on {Path(settings.data.path or "images").name}

A classifier of {len(class_names)} classes: backbone `{backbone}`, {head}, trained by lacvit
([label-aware contrastive training]({PAPER}) of vision transformers) with
the method `{settings.method}`, seed {settings.seed}{fitted if own_head else ""}.

{_scores(metrics)}
{read}
## Use

```python
import lacvit

model = lacvit.load("this folder")
model.predict(["a.jpg"])  # label and probability
model.embed(["a.jpg"])  # float32 features
```

Classes: {", ".join(class_names)}.

## Terms

{terms_of(backbone)} The images it was trained on have terms of their own, which may bind a model
made from them. lacvit itself is under the Apache licence 2.0.
"""


def _scores(metrics: Mapping[str, Any]) -> str:
    split = "test" if "test" in metrics else "validation"
    if split not in metrics:
        return "It trained on every image, so that none was left to measure it on."
    found = metrics[split]
    low, high = found["interval"]
    return f"""Accuracy@1 on {found["images"]} {split} images: {100 * found["accuracy"]:.1f} %
(95 % interval {100 * low:.1f} to {100 * high:.1f}, over the choice of {split} images).
Its probabilities are off by {100 * found["ece"]:.1f} points there on average (expected calibration
error), with the outputs divided by {found["temperature"]:.2f}, the temperature in `config.json`."""
