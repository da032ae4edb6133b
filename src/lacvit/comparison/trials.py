"""Settings tried for every method alike, judged on validation images alone.

Which ones is a pure function of the method and the trial's number: a short table says what may
change, and nothing that was found before is looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from lacvit.arms import find_arm
from lacvit.config import RunSettings, flatten, make_settings
from lacvit.errors import InputError
from lacvit.training.optim import automatic_learning_rate

TRIAL_SEED = 10_000  # trials draw their images and weights by it; no run of the comparison does

# Times the rate that the method has by itself; these are tried first, in this order.
RATES = (1.0, 0.5, 2.0, 4.0, 0.25)
CROPS = ((0.35, 1.0), (0.2, 1.0), (0.6, 1.0))
SMOOTHINGS = (0.1, 0.0, 0.2)
TEMPERATURES = (0.1, 0.05, 0.2)
# What else is tried of each stage that trains the encoder, beside the method's own value.
KNOBS: Mapping[str, Mapping[str, tuple[object, ...]]] = {
    "contrastive": {"contrastive.temperature": TEMPERATURES, "views.crop_scale": CROPS},
    "cross_entropy": {"cross_entropy.label_smoothing": SMOOTHINGS, "views.crop_scale": CROPS},
    "joint": {
        "joint.contrastive_weight": (0.5, 0.25, 0.75),
        "joint.temperature": TEMPERATURES,
        "views.crop_scale": CROPS,
    },
}


@dataclass(frozen=True)
class Candidate:
    """One trial's difference from the method as it is."""

    rate: float = 1.0  # times the learning rate of every stage that trains the encoder
    changes: Mapping[str, object] = field(default_factory=dict)  # dotted settings

    @property
    def name(self) -> str:
        """In words, such as ``2 x lr, contrastive.temperature=0.05``."""
        parts = [f"{self.rate:g} x lr"] if self.rate != 1 else []
        parts += [f"{key}={_written(value)}" for key, value in self.changes.items()]
        return ", ".join(parts) or "as it is"


def candidates(
    method: str, trials: int, fixed: Collection[str] = frozenset()
) -> tuple[Candidate, ...]:
    """What the trials of a method try: itself, other learning rates, then all else in any mixture.

    A method that trains no encoder has none: `linear-probe` has its strengths alone, `knn` its
    numbers of neighbours, and each of their runs tries them all on validation.

    Args:
        method: an arm.
        trials: how many; the first is the method as it is.
        fixed: dotted settings that the user has set, which are left as they are.

    Raises:
        InputError: there are not so many to try.
    """
    stages = find_arm(method).encoder_stages
    if not stages or not trials:
        return ()
    grid = list(_grid(method, stages, fixed))
    if trials > len(grid):
        raise InputError(
            f"--trials is {trials}, and {method} has {len(grid)} settings to try"
            f"{' beside those that you have set' if fixed else ''}. Ask for fewer."
        )
    rates_alone = [one for one in grid if not one.changes]
    mixtures = [one for one in grid if one.changes]
    seed = int.from_bytes(hashlib.sha256(method.encode()).digest()[:8])
    order = np.random.default_rng(seed).permutation(len(mixtures))
    return tuple([*rates_alone, *(mixtures[i] for i in order)][:trials])


def _grid(method: str, stages: Sequence[str], fixed: Collection[str]) -> Iterator[Candidate]:
    own = flatten(make_settings(recipe={"method": method}).model_dump())
    knobs: dict[str, tuple[object, ...]] = {
        key: (own[key], *(value for value in values if value != own[key]))
        for stage in stages
        for key, values in KNOBS[stage].items()
        if key not in fixed
    }
    rates = RATES if any(f"{stage}.lr" not in fixed for stage in stages) else (1.0,)
    for rate, *values in product(rates, *knobs.values()):
        assert isinstance(rate, float)
        chosen = dict(zip(knobs, values, strict=True))
        yield Candidate(rate, {key: value for key, value in chosen.items() if value != own[key]})


def as_settings(
    candidate: Candidate, settings: RunSettings, dim: int, fixed: Collection[str]
) -> dict[str, object]:
    """A candidate as dotted settings of its method, for an encoder ``dim`` wide."""
    changed = dict(candidate.changes)
    for stage in find_arm(settings.method).encoder_stages if candidate.rate != 1 else ():
        if f"{stage}.lr" not in fixed:
            section = getattr(settings, stage)
            lora = settings.backbone.trainable == "lora"
            auto = automatic_learning_rate(section.optimizer, dim, lora=lora)
            changed[f"{stage}.lr"] = candidate.rate * (auto if section.lr == "auto" else section.lr)
    return changed


def best_of(accuracies: Sequence[float]) -> int:
    """The trial of the highest validation accuracy; among equals the first."""
    return int(np.argmax(accuracies))


def _written(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "-".join(f"{item:g}" for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
