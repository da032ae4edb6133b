"""Where settings come from: recipes, ``--set`` and flags, checked all at once."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError

from lacvit.arms import AUTOMATIC, PUBLISHED_ARM, Arm, find_arm
from lacvit.config.contradictions import contradictions
from lacvit.config.implied import contradictory_stages
from lacvit.config.settings import RunSettings
from lacvit.errors import InputError

# What differs from run to run of a comparison, and what says it there.
OF_ONE_RUN = {
    "method": "--methods",
    "seed": "--seeds",
    "backbone.spec": "--backbones",
    "data.shots": "--shots",
    "data.fold": "--set data.folds=5",
    "data.fold_repeat": "--set data.folds=5 and --seeds",
}
# Epochs that the budget of a comparison decides for every method, by lacvit's.
OF_ITS_BUDGET = ("cross_entropy.epochs", "joint.epochs")
STAGE_SECTIONS = ("contrastive", "cross_entropy", "joint", "head")
# What a solver of a head reads, of the settings that not all of them read ("knn" reads none); the
# probe that a stage's head may start from is an exact one.
OF_SOLVER: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "exact": ("head.epochs", "head.strengths"),
        "sgd": ("head.epochs", "head.lr", "head.batch_size"),
    }
)
# What nothing reads where the backbone is left as it is.
OF_ITS_TRAINING = (
    "backbone.trainable",
    "backbone.lora_rank",
    "backbone.drop_path",
    "backbone.gradient_checkpointing",
)
# What nothing reads where no view is jittered.
OF_JITTER = ("views.brightness", "views.contrast", "views.saturation", "views.hue")


def all_keys(model: type[BaseModel] = RunSettings, prefix: str = "") -> dict[str, str]:
    """Dotted name of every setting, with its one-line description."""
    keys: dict[str, str] = {}
    for name, info in model.model_fields.items():
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            keys |= all_keys(annotation, f"{prefix}{name}.")
        else:
            keys[prefix + name] = info.description or ""
    return keys


def describe(key: str) -> str:
    """The one-line description of a dotted setting."""
    return all_keys()[key]


def default_of(key: str) -> object:
    """What a dotted setting is where nothing sets it; None where it then has no value."""
    return flatten(RunSettings().model_dump(mode="json"))[key]


def read_recipe(path: Path) -> dict[str, object]:
    """A recipe's settings as dotted keys.

    Raises:
        InputError: no such file, or not TOML.
    """
    try:
        return flatten(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(f"There is no recipe {path}. Give a TOML file of settings.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"The recipe {path} cannot be read: {said}. Give a TOML file of settings; one to start "
            f"from is printed by: lacvit settings"
        ) from None


def parse_assignment(text: str) -> tuple[str, object]:
    """``section.key=value`` of ``--set``; the value is TOML, or else a bare string.

    Raises:
        InputError: there is no ``=``.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set takes section.key=value, got {text!r}.")
    try:
        return key.strip(), tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def contradictory_assignments(assignments: Iterable[tuple[str, object]]) -> list[str]:
    """The faults of settings that two ``--set`` give different values."""
    first: dict[str, object] = {}
    return [
        f"{key} is {first[key]!r} by one --set and {value!r} by another; give one of them."
        for key, value in assignments
        if first.setdefault(key, value) != value
    ]


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """Nested tables as dotted keys."""
    flat: dict[str, object] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _nest(flat: Mapping[str, object]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        section, _, name = key.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[name] = value
    return nested


def make_settings(
    *,
    recipe: Mapping[str, object] | None = None,
    assignments: Sequence[tuple[str, object]] = (),
    flags: Mapping[str, object] | None = None,
    typed: Mapping[str, str] = MappingProxyType({}),
) -> RunSettings:
    """Settings from all their sources, as dotted keys.

    What the arm fixes beats every source: a recipe may hold settings of other arms. ``typed`` says
    what the user wrote for a flag's key, ``--lr`` for ``joint.lr``: faults speak of that.

    Raises:
        InputError: every fault at once: unknown keys (with the nearest), values out of range, a
            flag and a ``--set`` or two ``--set`` that disagree, a setting that the chosen arm
            cannot use.
    """
    recipe = dict(recipe or {})
    assigned = dict(assignments)
    flags = {key: value for key, value in (flags or {}).items() if value is not None}
    known = all_keys()
    faults = contradictory_assignments(assignments)
    faults += [
        f"{key} is {flags[key]!r} by its flag and {assigned[key]!r} by --set; give one of them."
        for key in sorted(flags.keys() & assigned.keys())
        if flags[key] != assigned[key]
    ]
    faults += [
        f"There is no setting {key!r}."
        f"{_nearest(key, known) or ' Every one is listed by: lacvit settings'}"
        for key in recipe | assigned
        if key not in known
    ]
    given = {key: value for key, value in (recipe | assigned | flags).items() if key in known}
    overrides: Mapping[str, object] = {}
    fixed: Mapping[str, object] = {}
    try:
        name = str(given.get("method", "auto"))
        arm = AUTOMATIC if name == "auto" else find_arm(name)
        overrides, fixed = arm.overrides, arm.fixed
        faults += _unusable(name, arm, given, [k for k in assigned | flags if k in known])
        faults += _another_loss(name, arm, given)
    except InputError as error:
        faults.append(str(error))
    values = dict(overrides) | given | dict(fixed)
    try:
        settings = RunSettings.model_validate(_nest(values))
    except ValidationError as error:
        faults += _out_of_range(error, values)
        settings = RunSettings()
    faults += contradictions(settings)
    if settings.method == "auto":
        faults += contradictory_stages(settings)
    if faults:
        named = {key: name for key, name in typed.items() if key in flags}
        raise InputError("\n".join(dict.fromkeys(_as_typed(fault, named) for fault in faults)))
    return settings


def _as_typed(fault: str, typed: Mapping[str, str]) -> str:
    """Faults begin with the setting that they are about."""
    key, space, rest = fault.partition(" ")
    return f"{typed.get(key, key)}{space}{rest}"


def _nearest(key: str, known: Iterable[str]) -> str:
    known = list(known)
    if within := [k for k in known if k.startswith(f"{key}.")]:
        return f" It is a section; give a setting of it, such as {within[0]}."
    alike = [k for k in known if k.rpartition(".")[2] == key.rpartition(".")[2]]
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5 if not alike else 0.85)
    if alike and not near:
        return f" Of that name there {'is' if len(alike) == 1 else 'are'} {', '.join(alike)}."
    if not near:
        return ""
    # Without a section the nearest by its letters may not be what is meant.
    name = near[0].rpartition(".")[2]
    same = [key for key in known if key.rpartition(".")[2] == name]
    if len(same) == 1 or "." in key:
        return f" The nearest is {near[0]!r}."
    return f" The nearest are {', '.join(same)}."


def has_effect(key: str, method: str, given: Mapping[str, object]) -> bool:
    """Whether anything in the arm called ``method`` reads a dotted setting beside those given.

    Raises:
        InputError: there is no such arm.
    """
    return not _unusable(method, find_arm(method), given, [key])


def _unusable(name: str, arm: Arm, given: Mapping[str, object], asked: Iterable[str]) -> list[str]:
    """Settings that were asked for by hand and that nothing in the arm reads."""
    reasons = {key: _why_unread(key, name, arm, given) for key in asked}
    return [f"{key} has no effect with {why}." for key, why in reasons.items() if why]


def _why_unread(key: str, name: str, arm: Arm, given: Mapping[str, object]) -> str | None:
    """What keeps the arm from reading a setting, and what to do; None where it is read."""
    section = key.split(".")[0]
    tuning = [stage for stage in ("cross_entropy", "joint") if stage in arm.stages]
    probed = [stage for stage in tuning if _starts_from_probe(stage, arm, given)]
    live = given.get("head.features") == "live"
    corners = given.get("features.crops") == "corners"  # mirrored ones too, unless views.flip=0
    solver = str(arm.fixed.get("head.solver", given.get("head.solver", "exact")))
    solvers = [one for one, keys in OF_SOLVER.items() if key in keys]
    other = "leave it out or choose another method"
    # Every other training of the encoder spends the contrastive stage's passes, and the probe that
    # its head starts from is an exact head.
    elsewhere = (key == "contrastive.epochs" and tuning) or (
        probed and (key == "head.strengths" or (key == "head.epochs" and solver == "exact"))
    )
    if key in arm.fixed and given.get(key) != arm.fixed[key]:
        return f"--method {name}, where it is always {arm.fixed[key]}; {other}"
    if key in OF_JITTER and arm.fixed.get("views.jitter_probability") == 0:
        return f"--method {name}, whose views keep their colours; {other}"
    if section in STAGE_SECTIONS and section not in arm.stages and not elsewhere:
        if key in OF_SOLVER["exact"] and tuning and not probed:
            init = f"{tuning[0]}.head_init"
            return f"{init}=random; leave it out, or set {init}=probe"
        return f"--method {name}, whose stages are {', '.join(arm.stages)}; {other}"
    if not arm.trains_encoder and (
        key in OF_ITS_TRAINING
        or (section == "views" and not live and not (key == "views.flip" and corners))
    ):
        return f"--method {name}, which leaves the backbone as it is; {other}"
    if key == "backbone.lora_rank" and given.get("backbone.trainable") != "lora":
        return f"--trainable {given.get('backbone.trainable', 'all')}; leave it out"
    if solvers and solver not in solvers and not elsewhere:
        if "head.solver" in arm.fixed:
            return f"--method {name}, whose head.solver is always {solver}; {other}"
        return f"head.solver={solver}; set head.solver={solvers[0]}"
    return None


def _starts_from_probe(stage: str, arm: Arm, given: Mapping[str, object]) -> bool:
    key = f"{stage}.head_init"
    return given.get(key, arm.overrides.get(key, default_of(key))) == "probe"


def _another_loss(name: str, arm: Arm, given: Mapping[str, object]) -> list[str]:
    """An arm that is named for its loss trains no other: its results would bear the wrong name."""
    key = "contrastive.loss"
    if key not in arm.overrides or given.get(key, arm.overrides[key]) == arm.overrides[key]:
        return []
    return [
        f"{key} is {given[key]!r}, and --method {name} is the method with {arm.overrides[key]!r}; "
        f"leave {key} out, or use --method {PUBLISHED_ARM}, which takes any loss."
    ]


def _out_of_range(error: ValidationError, values: Mapping[str, object]) -> list[str]:
    """One line a setting: its value, what is wrong with it, and what the setting is."""
    known = all_keys()
    wrong: dict[str, str] = {}
    for fault in error.errors():
        loc = [str(part) for part in fault["loc"]]
        key = next(k for n in range(len(loc), 0, -1) if (k := ".".join(loc[:n])) in known)
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "string_pattern_mismatch":
            message = "not understood"
        if fault["type"] == "tuple_type":
            message = "needs a list, such as '[0.2, 1]'"
        if key not in wrong:
            wrong[key] = message
        elif message == "Input should be 'auto'":
            wrong[key] += ", or 'auto'"
    return [f"{key} = {values[key]!r}: {said} ({known[key]})." for key, said in wrong.items()]
