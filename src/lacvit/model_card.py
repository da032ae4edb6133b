"""The text that travels with a saved model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lacvit.config import RunSettings

PICO_TERMS = (
    "pico was pretrained on Tiny ImageNet, a part of ImageNet, whose terms allow non-commercial "
    "research and education."
)


def model_card(
    settings: RunSettings, class_names: Sequence[str], metrics: Mapping[str, Any]
) -> str:
    """Markdown: what the model is, what it scored, how it was made, how to use it."""
    test = metrics["test"]
    low, high = test["interval"]
    backbone = settings.backbone.spec
    terms = PICO_TERMS if backbone == "pico" else "See the terms of the backbone's weights."
    return f"""# {settings.method} on {settings.data.path}

A classifier of {len(class_names)} classes: backbone `{backbone}`, a linear head, trained by
[lacvit](https://arxiv.org/abs/2303.18013) with `--method {settings.method}`, seed {settings.seed}.

Accuracy@1 on {test["images"]} test images: {100 * test["accuracy"]:.1f} %
(95 % interval {100 * low:.1f} to {100 * high:.1f}, over the choice of test images).

## Use

```python
import lacvit

model = lacvit.load("this folder")
model.predict(["a.jpg"])  # label and probability
model.embed(["a.jpg"])  # float32 features
```

Classes: {", ".join(class_names)}.

## Terms

{terms} The images it was trained on have terms of their own.
"""
