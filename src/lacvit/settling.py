"""``auto`` settled by what the images and the device are: backbone, method, precision, length."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from lacvit import planning, regime
from lacvit.arms import OF_STAGE, find_arm
from lacvit.backbones import Backbone, auto, check_spec
from lacvit.config import ContrastiveSettings, CrossEntropySettings, JointSettings, RunSettings
from lacvit.config.implied import implied_setting
from lacvit.data.records import ImageRecords
from lacvit.data.splits import Splits
from lacvit.devices import accelerator_gigabytes, faster_precision, find_device
from lacvit.errors import InputError
from lacvit.forecast import forecast, in_words, shorten
from lacvit.shared import Shared
from lacvit.staging import load_chosen
from lacvit.training.logs import Progress
from lacvit.training.optim import automatic_learning_rate

SEEN_FOR_SIZE = 32  # images that tell how large they are
KINDS: Mapping[regime.Pretraining, str] = {
    "labels": "pretrained with labels",
    "none": "pretrained without labels",
    "unknown": "whose pretraining its name does not tell",
}


def read_checked(
    settings: RunSettings, progress: Progress, shared: Shared, *, begun: bool = False
) -> Splits:
    """The images, once the device and the backbone are known to be there: reading takes long.

    Raises:
        InputError: there is no such device or backbone, or the images cannot be used.
    """
    check_there(settings, begun=begun)
    return shared.splits(settings, progress)


def check_there(settings: RunSettings, *, begun: bool = False) -> None:
    """Refuse a device or a backbone that is not there, as far as that can be told at once.

    A run that has ``begun`` has its own name of the backbone, which is found from any folder.

    Raises:
        InputError: there is none.
    """
    find_device(settings.device)
    if not begun and settings.backbone.spec != "auto":
        check_spec(settings.backbone.spec)


def settle_backbone(settings: RunSettings, splits: Splits, progress: Progress) -> RunSettings:
    """``--backbone auto`` resolved for the images, and the choice told."""
    settled, said = with_backbone(settings, shorter_side(splits.train))
    for text in said:
        progress.message(text)
    return settled


def with_backbone(settings: RunSettings, side: int) -> tuple[RunSettings, list[str]]:
    """``--backbone auto`` resolved for images of ``side`` pixels, and what to say of it."""
    if settings.backbone.spec != "auto":
        return settings, []
    choice = auto.choose(side, accelerator_gigabytes(settings.device))
    chosen = settings.backbone.model_copy(update={"spec": choice.spec})
    settled = settings.model_copy(update={"backbone": chosen})
    return settled, [f"Backbone: {choice.spec}, chosen because {choice.reason}."]


def settle(
    settings: RunSettings,
    backbone: Backbone,
    splits: Splits,
    max_seconds: float | None,
    progress: Progress,
    *,
    chosen: bool = False,
) -> RunSettings:
    """Every other ``auto`` resolved, and the schedule shortened to the time allowed, if any.

    ``chosen`` says that what validation would choose is given, so that every image may train.

    Raises:
        InputError: as :func:`lacvit.planning.resolve`; a choice that is left to images that train.
    """
    settings, said = settle_method(
        settings, backbone, len(splits.train), every_image_trains=splits.validation_trains
    )
    for text in said:
        progress.message(text)
    settings = planning.resolve(settings, backbone)
    if splits.validation_trains and not chosen:
        _refuse_choices(settings)
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


def settle_method(
    settings: RunSettings, backbone: Backbone, images: int, *, every_image_trains: bool = False
) -> tuple[RunSettings, list[str]]:
    """``--method auto`` resolved for so many training images, and what to say of the choice.

    What the user set stays as it is.
    """
    if settings.method != "auto":
        return settings, []
    pretraining = pretraining_of(backbone)
    implied = implied_setting(settings)
    arm = OF_STAGE[implied[0]] if implied else regime.ARMS[pretraining]
    stage, head = find_arm(arm).stages[0], settings.head
    training: ContrastiveSettings | JointSettings | CrossEntropySettings = getattr(settings, stage)
    choice = regime.choose(images, training.batch_size, pretraining, backbone.input_spec.size)
    changes: dict[str, object] = {"method": arm}
    said: list[str] = []
    of_stage: dict[str, dict[str, object]] = {"contrastive": {}, stage: {}}
    if settings.contrastive.epochs == training.epochs == "auto":
        of_stage["contrastive"]["epochs"] = choice.epochs
        said.append(f"{choice.epochs} epochs for {images:,} training images")
    if training.lr == "auto":
        lora = settings.backbone.trainable == "lora"
        rate = choice.rate * automatic_learning_rate(training.optimizer, backbone.dim, lora=lora)
        of_stage[stage]["lr"] = rate
        said.append("the rate of such encoders")
    for name, chosen in of_stage.items():
        changes[name] = getattr(settings, name).model_copy(update=chosen)
    if head.fit_on == "auto" and head.solver != "sgd" and not every_image_trains:
        changes["head"] = head.model_copy(update={"fit_on": regime.FIT_ON})
        said.append("a head fitted on validation images too, once they have chosen its strength")
    if settings.features.crops == "auto":
        changes["features"] = settings.features.model_copy(update={"crops": choice.crops})
        if choice.crops == "corners":
            said.append("features averaged over an image and its corners")
    why = f"since {implied[1]} is set (--method names any), " if implied else ""
    what = f"Method: {arm}, {why}for an encoder {KINDS[pretraining]}"
    return settings.model_copy(update=changes), [f"{'; '.join([what, *said])}."]


def _refuse_choices(settings: RunSettings) -> None:
    """Where every image trains, validation shows images that trained, and must choose nothing.

    Raises:
        InputError: a head would be chosen by it.
    """
    head, arm = settings.head, find_arm(settings.method)
    every = "data.validation_fraction=0 trains on every image, so that none can choose"
    own = "head" in arm.stages
    exact = own and head.solver == "exact"
    exact |= "cross_entropy" in arm.stages and settings.cross_entropy.head_init == "probe"
    exact |= "joint" in arm.stages and settings.joint.head_init == "probe"
    if own and head.solver == "knn":
        raise InputError(f"{every} the number of neighbours. Leave it out with such a head.")
    if exact and len(head.strengths) > 1:
        raise InputError(f"{every} the head's strength. Set it, such as head.strengths=[0.1].")
    if own and head.fit_on == "all":
        raise InputError(f"{every}, and head.fit_on=all has nothing to add. Leave one of them out.")


def pretraining_of(backbone: Backbone) -> regime.Pretraining:
    """What an encoder was pretrained with, as far as it can be told."""
    return regime.pretraining_of(backbone.origin.spec, backbone.origin.format)


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
    settled, said = with_backbone(settings, side)
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
    """Pixels: the median of a few images, spread over all classes."""
    few = np.linspace(0, len(records) - 1, min(SEEN_FOR_SIZE, len(records))).round().astype(int)
    return int(np.median([min(records.read(int(i)).shape[:2]) for i in few]))
