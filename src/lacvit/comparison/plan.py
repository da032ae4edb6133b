"""Which runs a comparison is made of: every method, on every seed of every cell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lacvit.arms import find_arm
from lacvit.config import RunSettings, make_settings
from lacvit.errors import InputError

DEFAULT_METHODS = ("linear-probe", "cross-entropy", "lacvit")


@dataclass(frozen=True)
class Request:
    """What is compared."""

    output: Path
    methods: tuple[str, ...] = DEFAULT_METHODS
    backbones: tuple[str, ...] = ("auto",)
    shots: tuple[int | None, ...] = (None,)  # images a class; None takes all there are
    seeds: int = 5
    margin: float = 0.01  # methods closer than this share of the images count as equal
    chosen: str | None = None  # what "auto" among the backbones came to


@dataclass(frozen=True)
class Cell:
    """One backbone at one number of images a class: where methods are set against each other."""

    backbone: str
    shots: int | None

    @property
    def name(self) -> str:
        """Such as ``pico, 10 a class``."""
        return self.backbone + ("" if self.shots is None else f", {self.shots} a class")


@dataclass(frozen=True)
class PlannedRun:
    """One run of the comparison, and where it goes."""

    cell: Cell
    method: str
    seed: int
    settings: RunSettings
    folder: Path


def plan_runs(given: Mapping[str, object], request: Request) -> tuple[PlannedRun, ...]:
    """Every run, seed after seed, so that what is done early can already be compared.

    Args:
        given: what the user set, as dotted keys; the same for every method. What a method has no
            use for (a temperature, say) does not trouble it.

    Raises:
        InputError: fewer than two methods, one named twice, an unknown one, no seed, a key that
            the comparison itself decides, settings that are wrong.
    """
    _check(given, request)
    runs = []
    for seed in range(request.seeds):
        for backbone in request.backbones:
            for shots in request.shots:
                cell = Cell(backbone, shots)
                for method in request.methods:
                    settings = make_settings(
                        recipe={
                            **given,
                            "method": method,
                            "seed": seed,
                            "backbone.spec": backbone,
                            **({} if shots is None else {"data.shots": shots}),
                        }
                    )
                    folder = request.output / "runs" / _folder_name(cell, method, seed)
                    runs.append(PlannedRun(cell, method, seed, settings, folder))
    return tuple(runs)


def _check(given: Mapping[str, object], request: Request) -> None:
    for method in request.methods:
        find_arm(method)
    twice = {name for name in request.methods if request.methods.count(name) > 1}
    if len(request.methods) < 2 or twice:
        said = f"{min(twice)} twice" if twice else ", ".join(request.methods) or "none"
        raise InputError(
            f"--methods names {said}; give two or more different ones, such as "
            f"{','.join(DEFAULT_METHODS)}."
        )
    if request.seeds < 1:
        raise InputError(f"--seeds is {request.seeds}; give at least 1, better 5.")
    for key, flag in (
        ("method", "--methods"),
        ("seed", "--seeds"),
        ("backbone.spec", "--backbones"),
        ("data.shots", "--shots"),
    ):
        if key in given:
            raise InputError(f"{key} differs from run to run here: give it by {flag}.")


def _folder_name(cell: Cell, method: str, seed: int) -> str:
    source, _, name = cell.backbone.partition(":")
    short = Path(name.partition("?")[0]).stem if source in ("file", "run") else cell.backbone
    shots = "" if cell.shots is None else f"-{cell.shots}shots"
    return re.sub(r"[^\w.-]+", "-", f"{method}-{short}{shots}-s{seed}")
