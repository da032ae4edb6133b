"""``auto`` settled by what the images and the device are: backbone, method, precision, length."""

from __future__ import annotations

import numpy as np
import torch

from lacvit import planning
from lacvit.backbones import Backbone
from lacvit.config import RunSettings
from lacvit.data.records import ImageRecords
from lacvit.data.splits import Splits
from lacvit.devices import faster_precision
from lacvit.forecast import forecast, in_words, shorten
from lacvit.shared import Shared
from lacvit.staging import load_chosen
from lacvit.training.logs import Progress


def settle_backbone(settings: RunSettings, splits: Splits, progress: Progress) -> RunSettings:
    """``--backbone auto`` resolved for the images, and the choice told."""
    settled, said = planning.settle_backbone(settings, shorter_side(splits.train))
    for text in said:
        progress.message(text)
    return settled


def settle(
    settings: RunSettings,
    backbone: Backbone,
    splits: Splits,
    max_seconds: float | None,
    progress: Progress,
) -> RunSettings:
    """Every other ``auto`` resolved, and the schedule shortened to the time allowed, if any.

    Raises:
        InputError: as :func:`lacvit.planning.resolve`.
    """
    settings, said = planning.settle_method(settings, backbone, len(splits.train))
    for text in said:
        progress.message(text)
    settings = planning.resolve(settings, backbone)
    settings = settle_precision(settings, backbone, splits)
    if max_seconds is None:
        return settings
    whole = forecast(settings, backbone, splits)
    shorter = shorten(settings, whole, max_seconds)
    for stage in whole.stages:
        epochs = getattr(shorter, stage.name).epochs
        if stage.name != "head" and epochs != stage.epochs:
            progress.message(
                f"To end within {in_words(max_seconds)}, the {stage.name} stage has "
                f"{epochs} epochs instead of {stage.epochs}."
            )
    return shorter


def settle_precision(settings: RunSettings, backbone: Backbone, splits: Splits) -> RunSettings:
    """``precision = "auto"`` by a measurement of the encoder's own training step."""
    if settings.precision != "auto":
        return settings
    device = torch.device(settings.device)
    size = backbone.input_spec.size
    # A processor that only imitates bfloat16 shows it on four images, in a fraction of a second.
    count = min(4 if device.type == "cpu" else 32, len(splits.train))
    images = torch.zeros(count, 3, size, size, device=device)
    backbone.to(device)

    def step() -> None:
        backbone(images).float().sum().backward()

    precision, _ = faster_precision(step, device)
    backbone.zero_grad(set_to_none=True)
    return settings.model_copy(update={"precision": precision})


def choose_backbone(settings: RunSettings, progress: Progress, shared: Shared) -> dict[str, str]:
    """What ``--backbone auto`` comes to for the images that the settings name: spec and words.

    Raises:
        InputError: the images or the backbone cannot be used.
    """
    side = shorter_side(shared.splits(settings, progress).train)
    settled, said = planning.settle_backbone(settings, side)
    words = " ".join([*said, *planning.notices(settled, side)])
    progress.message(words)
    return {"spec": settled.backbone.spec, "words": words}


def choose_precision(settings: RunSettings, progress: Progress, shared: Shared) -> str:
    """What ``precision = "auto"`` comes to for the backbone that the settings name.

    Raises:
        InputError: the images or the backbone cannot be used.
    """
    backbone = load_chosen(settings)
    settings = planning.resolve(settings, backbone)
    return settle_precision(settings, backbone, shared.splits(settings, progress)).precision


def shorter_side(records: ImageRecords) -> int:
    """Pixels: the median of the first few images."""
    sides = [min(records.read(i).shape[:2]) for i in range(min(8, len(records)))]
    return int(np.median(sides))
