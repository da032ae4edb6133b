"""Which runs a comparison is made of: every method, on every seed of every cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from lacvit.arms import COMPARED, find_arm
from lacvit.config import OF_ONE_RUN, RunSettings, make_settings
from lacvit.errors import InputError
from lacvit.naming import short_name


@dataclass(frozen=True)
class Request:
    """What is compared."""

    output: Path
    methods: tuple[str, ...] = COMPARED
    backbones: tuple[str, ...] = ("auto",)
    shots: tuple[int | None, ...] = (None,)  # images a class; None takes all there are
    seeds: int = 5
    margin: float = 0.01  # methods closer than this share of the images count as equal
    # By backbone: the arm of `lacvit train` where nothing is said.
    defaults: Mapping[str, str] = field(default_factory=dict)
    chosen: Mapping[str, str] | None = None  # what "auto" among the backbones came to, and why
    folds: int | None = None  # of tiny data: a seed is then a repeat, and has so many runs
    trials: int = 0  # settings tried for every method and cell, by validation alone
    budget: str = "equal-images"  # or "equal-time"
    pick: bool = False  # keep the model of the method that validation prefers


@dataclass(frozen=True)
class Cell:
    """One backbone at one number of images a class: where methods are set against each other."""

    backbone: str
    shots: int | None

    @property
    def name(self) -> str:
        """Such as ``pico, 10 a class``."""
        return self.backbone + ("" if self.shots is None else f", {self.shots} a class")


Kind = tuple[Cell, str]  # runs of one cell and method differ by their seed alone
# Dotted settings that differ from one kind to another.
Changes = Mapping[Kind, Mapping[str, object]]


@dataclass(frozen=True)
class PlannedRun:
    """One run of the comparison, and where it goes."""

    cell: Cell
    method: str
    seed: int
    settings: RunSettings
    folder: Path
    fold: int | None = None  # of the seed's partition into folds


def kind_of(run: PlannedRun) -> Kind:
    """Cell and method of a run."""
    return run.cell, run.method


def plan_runs(
    given: Mapping[str, object], request: Request, changes: Changes = MappingProxyType({})
) -> tuple[PlannedRun, ...]:
    """Every run, seed after seed, so that what is done early can already be compared.

    Args:
        given: what the user set, as dotted keys; the same for every method. What a method has no
            use for (a temperature, say) does not trouble it.
        request: what is compared.
        changes: what budget and trials have come to, by cell and method; they beat ``given``.

    Raises:
        InputError: fewer than two methods, one named twice, an unknown one, no seed, no backbone,
            two cells that would share a folder, no margin, a key that the comparison itself
            decides, settings that are wrong.
    """
    check_request(given, request)
    runs: list[PlannedRun] = []
    for seed in range(request.seeds):
        for backbone in request.backbones:
            for shots in request.shots:
                runs += _of_cell(given, request, Cell(backbone, shots), seed, changes)
    return tuple(runs)


def _of_cell(
    given: Mapping[str, object], request: Request, cell: Cell, seed: int, changes: Changes
) -> Iterator[PlannedRun]:
    for fold in range(request.folds) if request.folds else (None,):
        in_fold = _fold_keys(request.folds, fold, seed)
        for method in request.methods:
            settings = settings_of(
                given, cell, method, seed, {**changes.get((cell, method), {}), **in_fold}
            )
            name = folder_name(cell, method, f"s{seed}" + ("" if fold is None else f"-f{fold}"))
            yield PlannedRun(cell, method, seed, settings, request.output / "runs" / name, fold)


def settings_of(
    given: Mapping[str, object],
    cell: Cell,
    method: str,
    seed: int,
    changes: Mapping[str, object],
) -> RunSettings:
    """The settings of one run, whose ``changes`` beat what was given for all.

    Raises:
        InputError: settings that are wrong.
    """
    return make_settings(
        recipe={
            **given,
            "method": method,
            "seed": seed,
            "backbone.spec": cell.backbone,
            **({} if cell.shots is None else {"data.shots": cell.shots}),
            **changes,
        }
    )


def _fold_keys(folds: int | None, fold: int | None, repeat: int) -> dict[str, object]:
    if fold is None:
        return {}
    return {"data.folds": folds, "data.fold": fold, "data.fold_repeat": repeat}


def check_request(given: Mapping[str, object], request: Request) -> None:
    """What can be said of a request before any image is read; raises as :func:`plan_runs`."""
    for method in request.methods:
        find_arm(method)
    twice = {name for name in request.methods if request.methods.count(name) > 1}
    if len(request.methods) < 2 or twice:
        said = f"{min(twice)} twice" if twice else ", ".join(request.methods) or "none"
        raise InputError(
            f"--methods names {said}; give two or more different ones, such as "
            f"{','.join(COMPARED)}."
        )
    if not request.backbones:
        raise InputError("--backbones names none; give one or more, such as pico, or auto.")
    _check_cells(request)
    if not request.margin > 0:  # nan is refused too
        raise InputError(
            f"--margin is {100 * request.margin:g}; give more than 0 points, within which methods "
            f"count as equal, such as 1."
        )
    if request.seeds < 1:
        raise InputError(f"--seeds is {request.seeds}; give at least 1, better 5.")
    for key, flag in OF_ONE_RUN.items():
        if key in given:
            raise InputError(f"{key} differs from run to run here: give it by {flag}.")


def _check_cells(request: Request) -> None:
    """Every cell has folders of its own, so that no run is taken for another's."""
    by_name: dict[str, Cell] = {}
    for cell in (Cell(spec, shots) for spec in request.backbones for shots in request.shots):
        other = by_name.setdefault(folder_name(cell, "", ""), cell)
        if other is cell:
            continue
        if other == cell:
            raise InputError(f"{cell.name} is named twice by --backbones or --shots; name it once.")
        raise InputError(
            f"{other.backbone} and {cell.backbone} would share run folders, which go by the last "
            f"part of a backbone's name. Rename one of them, or compare them apart by --output."
        )


def folder_name(cell: Cell, method: str, which: str) -> str:
    """The name of a run's folder; ``which`` tells it from the others of its method."""
    shots = "" if cell.shots is None else f"-{cell.shots}shots"
    return f"{method}-{short_name(cell.backbone)}{shots}-{which}"
