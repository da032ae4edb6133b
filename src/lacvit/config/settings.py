"""Every setting of a run: one frozen model a stage, one line of description a field."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Auto = Literal["auto"]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Optimizer = Literal["adamw", "sgd"]
HeadInit = Literal["probe", "random"]
HEAD_INIT = "start from the exact linear probe, or at random"


class Settings(BaseModel):
    """Frozen, and closed: an unknown key is an error, and so is a number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataSettings(Settings):
    """Which images, and how they are split."""

    path: str | None = Field(
        None, min_length=1, description="folder of class folders, Parquet, or the name of a set"
    )
    root: str | None = Field(
        None,
        min_length=1,
        description="where a set given by its name lies; else the current folder",
    )
    shots: int | None = Field(
        None, ge=1, description="train on K images a class, drawn by the seed; validate on K more"
    )
    validation_fraction: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="share of the training images that validates, if none is given; 0: none",
    )
    test_fraction: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="share of all images that tests, where no test split is given; 0 tests none",
    )
    split_seed: int = Field(0, ge=0, description="draws the splits; the run's seed leaves it alone")
    # Without a value where they are not used: a request without them is what it was before.
    folds: int | None = Field(
        None, ge=1, description="parts that test in turn, in place of a test split; 1 is a split"
    )
    fold: int | None = Field(None, ge=0, description="which of the folds tests, from 0")
    fold_repeat: int | None = Field(None, ge=0, description="draws another partition into folds")
    hold_out_classes: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="classes never trained on, measured at the end: names, or how many to draw",
    )
    strict: bool = Field(False, description="every unreadable image is an error")

    @field_validator("hold_out_classes", mode="before")
    @classmethod
    def _listed(cls, given: object) -> object:
        """One text is a list with commas, and a number stands for itself."""
        texts = given.split(",") if isinstance(given, str) else given
        if isinstance(texts, int):
            texts = [texts]
        if not isinstance(texts, list | tuple):
            return given
        return tuple(text for text in (str(item).strip() for item in texts) if text)


class BackboneSettings(Settings):
    """Which pretrained encoder, and how much of it trains."""

    spec: str = Field(
        "auto", description="auto, pico, timm:NAME, hf:ORG/NAME, file:PATH or run:DIR"
    )
    image_size: int | None = Field(None, ge=8, description="input size; the backbone's own if left")
    pool: Literal["cls", "mean", "attention"] | None = Field(
        None, description="how tokens become a feature; as the model's authors do if left"
    )
    trainable: str = Field(
        "all",
        pattern=r"^(all|last-[1-9]\d*|lora|head)$",
        description="all, last-N blocks and the norm, lora (adapters), or head (nothing of it)",
    )
    lora_rank: int = Field(16, ge=1, description="rank of the updates of --trainable lora")
    drop_path: float = Field(
        0.0, ge=0, lt=1, description="chance that the last block's branches are left out"
    )
    gradient_checkpointing: bool = Field(
        False, description="keep only the blocks' inputs: less memory, a third more time"
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
    lr: Positive | Auto = Field(
        "auto",
        description="peak learning rate; auto is 0.128 / embedding width for adamw, 1.28 for lora",
    )
    weight_decay: float = Field(0.05, ge=0, description="not on norms, biases, positions, tokens")
    decay_all: bool = Field(False, description="weight decay on norms and biases too")
    layer_decay: float = Field(
        0.75, gt=0, le=1, description="each block learns at this times the rate of the next"
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps with a rising rate")
    clip_norm: float = Field(3.0, ge=0, description="largest gradient norm; 0 clips nothing")


class ContrastSettings(OptimizerSettings):
    """What every stage that contrasts views shares: the loss, and the projection under it."""

    temperature: float = Field(
        0.1, gt=0, description="divides the cosines; lower looks harder at near neighbours"
    )
    loss: Literal["supcon", "simclr", "npair", "sincere"] = Field(
        "supcon", description="contrastive loss"
    )
    negative_weighting: float = Field(
        0.0, ge=0, le=1e4, description="weighs near negatives of supcon more; 0 weighs all alike"
    )
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="images encoded at a time (gradient caching: same gradient, less memory)",
    )
    projection_hidden: Count | Auto = Field(
        "auto", description="hidden width; auto is the encoder's"
    )
    projection_dim: int = Field(128, ge=2, description="width of the contrasted embedding")


class ContrastiveSettings(ContrastSettings):
    """Stage 1: label-aware contrastive training of the whole backbone."""

    epochs: Count | Auto = Field(
        "auto",
        description="passes, all views each; auto is 100, or what the default method chooses",
    )
    loss_scale: float = Field(
        1.0, gt=0, description="multiplies the loss (the released code: temperature / 0.07)"
    )
    knn_k: int = Field(20, ge=1, description="neighbours of the k-NN accuracy of each epoch")


class CrossEntropySettings(OptimizerSettings):
    """Fine-tuning of backbone and head together by cross-entropy."""

    epochs: Count | Auto = Field(
        "auto", description="passes, one view each; auto spends the contrastive stage's images"
    )
    share_of_passes: float = Field(
        1.0, gt=0, description="auto epochs: this share of the contrastive stage's image passes"
    )
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="mass spread over all classes")
    head_init: HeadInit = Field("probe", description=HEAD_INIT)


class JointSettings(ContrastSettings):
    """Cross-entropy and contrast at once, each on its own head, of the same views."""

    epochs: Count | Auto = Field(
        "auto", description="passes, all views each; auto is the contrastive stage's"
    )
    contrastive_weight: float = Field(
        0.5, ge=0, lt=1, description="share of the contrastive loss; cross-entropy has the rest"
    )
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="mass spread over all classes")
    head_init: HeadInit = Field("probe", description=HEAD_INIT)


class HeadSettings(Settings):
    """Stage 2: a linear head on the frozen encoder."""

    solver: Literal["exact", "sgd", "knn"] = Field(
        "exact",
        description="exact logistic regression, SGD as the paper's code, or knn: a vote",
    )
    features: Literal["cached", "live"] = Field(
        "cached", description="features encoded once, or augmented images every epoch (sgd)"
    )
    fit_on: Literal["auto", "train", "all"] = Field(
        "auto",
        description="images of the last fit; all: validation too; auto: train, or all by default",
    )
    epochs: Count | Auto = Field(
        "auto", description="iterations at most (exact, auto 1000) or epochs (sgd, auto 100)"
    )
    lr: float = Field(0.1, gt=0, description="peak learning rate of sgd, cosine to 0")
    batch_size: int = Field(128, ge=1, description="images a step of sgd")
    strengths: tuple[Positive, ...] = Field(
        (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
        min_length=1,
        description="inverse L2 strengths of the exact head; validation chooses",
    )


class FeatureSettings(Settings):
    """What a feature is of, wherever the encoder is read and not trained."""

    crops: Literal["auto", "whole", "corners"] = Field(
        "auto",
        description="whole images, or means over each and its corners; auto: whole, or default's",
    )


class EvaluationSettings(Settings):
    """What is measured, and how."""

    batch_size: int = Field(256, ge=1, description="images a forward pass, at most")
    extended: bool = Field(False, description="geometry.json: every measure, not the usual ones")


class RunSettings(Settings):
    """One run, complete. ``settings.toml`` of a run folder is this."""

    method: str = Field(
        "auto", description="the arm; auto is lacvit or cross-entropy-refit, by the encoder"
    )
    seed: int = Field(0, ge=0, description="draws shots, batches, views and fresh weights")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="of the encoder's forward pass; auto measures both on the device"
    )
    workers: Count | Auto = Field("auto", description="threads that decode and augment images")
    data: DataSettings = DataSettings()
    backbone: BackboneSettings = BackboneSettings()
    views: ViewSettings = ViewSettings()
    contrastive: ContrastiveSettings = ContrastiveSettings()
    cross_entropy: CrossEntropySettings = CrossEntropySettings()
    joint: JointSettings = JointSettings()
    head: HeadSettings = HeadSettings()
    features: FeatureSettings = FeatureSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
