"""Every setting of a run: one frozen model a stage, one line of description a field.

``--help``, ``settings.toml``, the docs and the checks are made from the fields below. A run's
settings come, each beating the one before, from the defaults, the arm's overrides, a recipe
(TOML), ``--set`` and flags. ``"auto"`` is resolved by the pipeline before anything is trained.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from lacvit.arms import DEFAULT_ARM, find_arm
from lacvit.errors import InputError

Auto = Literal["auto"]
Optimizer = Literal["adamw", "sgd"]


class Settings(BaseModel):
    """Frozen, and closed: an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSettings(Settings):
    """Which images, and how they are split."""

    path: str | None = Field(None, description="folder of class folders, or Parquet file or folder")
    shots: int | None = Field(
        None, ge=1, description="train on K images a class, drawn by the seed; validate on K more"
    )
    validation_fraction: float = Field(
        0.2, gt=0, lt=1, description="share of the training images that validates, if none is given"
    )
    test_fraction: float = Field(
        0.2, gt=0, lt=1, description="share of all images that tests, where no test split is given"
    )
    split_seed: int = Field(0, ge=0, description="draws the splits; the run's seed leaves it alone")
    strict: bool = Field(False, description="every unreadable image is an error")


class BackboneSettings(Settings):
    """Which pretrained encoder, and how much of it trains."""

    spec: str = Field("auto", description="auto, pico, timm:NAME or file:PATH")
    image_size: int | None = Field(None, ge=8, description="input size; the backbone's own if left")
    trainable: str = Field(
        "all", pattern=r"^(all|last-[1-9]\d*)$", description="all, or last-N blocks and the norm"
    )


class ViewSettings(Settings):
    """How a training view is drawn from an image."""

    count: int = Field(2, ge=1, le=8, description="views of each image in a contrastive batch")
    crop_scale: tuple[float, float] = Field(
        (0.35, 1.0), description="share of the image's area that a random crop keeps"
    )
    flip: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip")
    brightness: float = Field(0.3, ge=0, description="jitter strength")
    contrast: float = Field(0.3, ge=0, description="jitter strength")
    saturation: float = Field(0.3, ge=0, description="jitter strength")
    hue: float = Field(0.05, ge=0, le=0.5, description="jitter strength, in turns of the circle")
    jitter_probability: float = Field(0.8, ge=0, le=1, description="probability of colour jitter")
    grey_probability: float = Field(0.0, ge=0, le=1, description="probability of a grey view")

    @field_validator("crop_scale")
    @classmethod
    def _ordered(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError("needs two numbers, 0 < least <= most <= 1")
        return scale


class OptimizerSettings(Settings):
    """What every stage that trains the encoder shares."""

    batch_size: int = Field(128, ge=2, description="images a step, over all processes")
    optimizer: Optimizer = Field("adamw", description="adamw or sgd (momentum 0.9)")
    lr: float | Auto = Field(
        "auto", description="peak learning rate; auto is 0.4 / embedding width for adamw"
    )
    weight_decay: float = Field(0.05, ge=0, description="not on norms, biases, positions, tokens")
    decay_all: bool = Field(False, description="weight decay on norms and biases too")
    layer_decay: float = Field(
        0.75, gt=0, le=1, description="each block learns at this times the rate of the next"
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps with a rising rate")
    clip_norm: float = Field(3.0, ge=0, description="largest gradient norm; 0 clips nothing")

    @field_validator("lr")
    @classmethod
    def _positive(cls, lr: float | str) -> float | str:
        if not isinstance(lr, str) and not 0 < lr < float("inf"):
            raise ValueError("needs to be above 0")
        return lr


class ContrastiveSettings(OptimizerSettings):
    """Stage 1: label-aware contrastive training of the whole backbone."""

    epochs: int = Field(100, ge=1, description="passes over the training images, all views each")
    temperature: float = Field(
        0.1, gt=0, description="divides the cosines; lower looks harder at near neighbours"
    )
    loss: Literal["supcon"] = Field("supcon", description="contrastive loss")
    loss_scale: float = Field(
        1.0, gt=0, description="multiplies the loss (the released code: temperature / 0.07)"
    )
    projection_hidden: int | Auto = Field("auto", description="hidden width; auto is the encoder's")
    projection_dim: int = Field(128, ge=2, description="width of the contrasted embedding")


class CrossEntropySettings(OptimizerSettings):
    """Fine-tuning of backbone and head together by cross-entropy."""

    epochs: int | Auto = Field(
        "auto", description="passes, one view each; auto spends the contrastive stage's images"
    )
    share_of_passes: float = Field(
        1.0, gt=0, description="auto epochs: this share of the contrastive stage's image passes"
    )
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="mass spread over all classes")
    head_init: Literal["probe", "random"] = Field(
        "probe", description="start from the exact linear probe, or at random"
    )


class HeadSettings(Settings):
    """Stage 2: a linear head on the frozen encoder."""

    solver: Literal["exact", "sgd"] = Field(
        "exact", description="exact logistic regression, or SGD as the paper's code"
    )
    features: Literal["cached", "live"] = Field(
        "cached", description="features encoded once, or augmented images every epoch (sgd)"
    )
    epochs: int | Auto = Field(
        "auto", description="iterations at most (exact, auto 1000) or epochs (sgd, auto 100)"
    )
    lr: float = Field(0.1, gt=0, description="peak learning rate of sgd, cosine to 0")
    batch_size: int = Field(128, ge=1, description="images a step of sgd")
    strengths: tuple[float, ...] = Field(
        (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
        min_length=1,
        description="inverse L2 strengths of the exact head; validation chooses",
    )


class EvaluationSettings(Settings):
    """What is measured, and how."""

    batch_size: int = Field(256, ge=1, description="images a forward pass")
    knn_k: int = Field(20, ge=1, description="neighbours of the k-NN accuracy")


class RunSettings(Settings):
    """One run, complete. ``settings.toml`` of a run folder is this."""

    method: str = Field("auto", description="the arm; auto is lacvit")
    seed: int = Field(0, ge=0, description="draws shots, batches, views and fresh weights")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="of the encoder's forward pass; auto measures both on the device"
    )
    workers: int | Auto = Field("auto", description="threads that decode and augment images")
    data: DataSettings = DataSettings()
    backbone: BackboneSettings = BackboneSettings()
    views: ViewSettings = ViewSettings()
    contrastive: ContrastiveSettings = ContrastiveSettings()
    cross_entropy: CrossEntropySettings = CrossEntropySettings()
    head: HeadSettings = HeadSettings()
    evaluation: EvaluationSettings = EvaluationSettings()


# --- reading -----------------------------------------------------------------------------------

STAGE_SECTIONS = ("contrastive", "cross_entropy", "head")


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
        raise InputError(f"The recipe {path} cannot be read: {error}.") from None


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
    assignments: Iterable[tuple[str, object]] = (),
    flags: Mapping[str, object] | None = None,
) -> RunSettings:
    """Settings from all their sources, as dotted keys.

    Raises:
        InputError: every fault at once: unknown keys (with the nearest), values out of range, a
            flag and a ``--set`` that disagree, a setting that the chosen arm cannot use.
    """
    recipe = dict(recipe or {})
    assigned = dict(assignments)
    flags = {key: value for key, value in (flags or {}).items() if value is not None}
    faults = [
        f"{key} is {flags[key]!r} by its flag and {assigned[key]!r} by --set; give one of them."
        for key in flags.keys() & assigned.keys()
        if flags[key] != assigned[key]
    ]
    known = all_keys()
    for key in [*recipe, *assigned]:
        if key not in known:
            faults.append(f"There is no setting {key!r}.{_nearest(key, known)}")
    given = {key: value for key, value in (recipe | assigned | flags).items() if key in known}
    name = given.get("method", "auto")
    arm_name = DEFAULT_ARM if name == "auto" else str(name)
    arm = find_arm(arm_name)
    faults += _unusable(arm_name, arm.stages, [*assigned, *flags])
    try:
        settings = RunSettings.model_validate(_nest(dict(arm.overrides) | given))
    except ValidationError as error:
        faults += [_say(fault) for fault in error.errors()]
        settings = RunSettings()
    faults += _contradictions(settings)
    if faults:
        raise InputError("\n".join(faults))
    return settings


def _nearest(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f" The nearest is {near[0]!r}." if near else ""


def _unusable(arm: str, stages: tuple[str, ...], keys: Iterable[str]) -> list[str]:
    """Settings that were asked for by hand and that no stage of the arm reads."""
    # The contrastive stage's epochs are the budget that cross-entropy spends too.
    shared = {"contrastive.epochs"} if "cross_entropy" in stages else set()
    return [
        f"{key} has no effect with --method {arm}, whose stages are {', '.join(stages)}; "
        f"leave it out or choose another method."
        for key in keys
        if (section := key.split(".")[0]) in STAGE_SECTIONS
        and section not in stages
        and key not in shared
    ]


def _contradictions(settings: RunSettings) -> list[str]:
    head = settings.head
    if head.solver == "exact" and head.features == "live":
        return [
            "head.features=live needs head.solver=sgd: the exact solver reads each image once. "
            "Set head.solver=sgd, or leave head.features at cached."
        ]
    return []


def _say(fault: Any) -> str:
    key = ".".join(str(part) for part in fault["loc"] if part != "literal['auto']")
    key = key.removesuffix(".float").removesuffix(".int")
    return f"{key} = {fault['input']!r}: {fault['msg'].removeprefix('Value error, ')}."
