"""From what was asked to what will be done: ``auto`` resolved, and what is said of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TypeVar

from lacvit.arms import find_arm
from lacvit.backbones import Backbone, auto, pico
from lacvit.config import ContrastSettings, DataSettings, OptimizerSettings, RunSettings
from lacvit.data.decoding import decoding_threads
from lacvit.data.named_sets import names_a_set
from lacvit.devices import find_device
from lacvit.errors import InputError
from lacvit.features import Crops
from lacvit.training.adapters import load_peft
from lacvit.training.head import EXACT_ITERATIONS, SGD_EPOCHS
from lacvit.training.optim import automatic_learning_rate

EPOCHS = 100  # of both views, as published
S = TypeVar("S", bound=OptimizerSettings)


def crops_of(settings: RunSettings) -> Crops | None:
    """What a run's last head, its measures and its model read of an image; None is the whole.

    While the encoder trains, its own head and its neighbours read whole images.
    """
    return Crops(mirror=settings.views.flip > 0) if settings.features.crops == "corners" else None


def resolve(settings: RunSettings, backbone: Backbone) -> RunSettings:
    """Settings without ``auto``, save the precision, which is measured once the images are there.

    Raises:
        InputError: there is no such device; more blocks are to be trained than there are; LoRA
            without peft; a contrast has nothing to train; the epochs are too few for two stages.
    """
    count = settings.backbone.trainable.removeprefix("last-")
    if count.isdigit() and int(count) > len(backbone.blocks()):
        raise InputError(
            f"--trainable last-{count} asks for more blocks than the {len(backbone.blocks())} of "
            f"{backbone.origin.spec}. Use a smaller number, or all."
        )
    if settings.backbone.trainable == "lora":
        load_peft()  # refused before anything is written
    arm = settings.method
    dropped = {"contrastive", "joint"} & set(find_arm(arm).stages) or (
        find_arm(arm).trains_encoder and find_arm(arm).stages[-1] == "head"
    )
    if settings.backbone.trainable == "head" and dropped:
        raise InputError(
            f"--trainable head leaves {arm} nothing to train that it would keep: the head that it "
            f"ends with is fitted afterwards. Use --method linear-probe, or train all, last-N or "
            f"lora."
        )
    epochs = _encoder_epochs(settings, arm)
    head = settings.head
    if head.epochs == "auto":
        head_epochs = EXACT_ITERATIONS if head.solver == "exact" else SGD_EPOCHS
        head = head.model_copy(update={"epochs": head_epochs})
    if head.fit_on == "auto":
        head = head.model_copy(update={"fit_on": "train"})
    features = settings.features
    if features.crops == "auto":
        features = features.model_copy(update={"crops": "whole"})
    settle = partial(_settle, backbone=backbone, lora=settings.backbone.trainable == "lora")
    workers = decoding_threads() if settings.workers == "auto" else settings.workers
    return settings.model_copy(
        update={
            "method": arm,
            "device": str(find_device(settings.device)),
            "workers": workers,
            "data": anywhere(settings.data),
            "backbone": settings.backbone.model_copy(
                update={"spec": _named_anywhere(settings.backbone.spec)}
            ),
            "contrastive": settle(settings.contrastive, epochs["contrastive"]),
            "cross_entropy": settle(settings.cross_entropy, epochs["cross_entropy"]),
            "joint": settle(settings.joint, epochs["joint"]),
            "head": head,
            "features": features,
        }
    )


def anywhere(data: DataSettings) -> DataSettings:
    """Places made absolute, so that the settings repeat the run from any folder."""
    path, root = data.path or "", data.root
    if names_a_set(path, root):
        return data.model_copy(update={"root": str(Path(root or ".").resolve())})
    return data.model_copy(update={"path": str(Path(path).resolve())})


def _named_anywhere(spec: str) -> str:
    """A backbone's name whose file or folder is found from any folder."""
    source, colon, name = spec.partition(":")
    path, question, options = name.partition("?")
    place = Path(path).expanduser()
    if source not in ("file", "run") and not (name and place.is_dir()):
        return spec
    return f"{source}{colon}{place.resolve()}{question}{options}"


def _encoder_epochs(settings: RunSettings, arm: str) -> dict[str, int]:
    """Epochs of each stage that trains the encoder, so that every arm sees as many images.

    ``contrastive.epochs`` epochs of ``views.count`` views are the budget of the whole arm. One that
    has two such stages divides it; once divided, as in a ``settings.toml``, it stays as it is.
    """
    budget, tuning = settings.contrastive.epochs, settings.cross_entropy
    budget = EPOCHS if budget == "auto" else budget
    joint = budget if settings.joint.epochs == "auto" else settings.joint.epochs
    if tuning.epochs != "auto":
        return {"contrastive": budget, "cross_entropy": tuning.epochs, "joint": joint}
    views, share = settings.views.count, tuning.share_of_passes
    if not {"contrastive", "cross_entropy"} <= set(find_arm(arm).stages):
        passes = max(1, round(views * budget * share))
        return {"contrastive": budget, "cross_entropy": passes, "joint": joint}
    last = max(1, round(budget * share))
    if last >= budget:
        raise InputError(
            f"{arm} would give {last} of {budget} epochs to cross-entropy, which leaves none for "
            f"the contrast before it. Use more --epochs, or a lower cross_entropy.share_of_passes "
            f"({share:g})."
        )
    return {"contrastive": budget - last, "cross_entropy": views * last, "joint": joint}


def _settle(settings: S, epochs: int, *, backbone: Backbone, lora: bool) -> S:
    """An encoder's stage without ``auto``."""
    changes: dict[str, object] = {"epochs": epochs}
    if settings.lr == "auto":
        changes["lr"] = automatic_learning_rate(settings.optimizer, backbone.dim, lora=lora)
    if isinstance(settings, ContrastSettings) and settings.projection_hidden == "auto":
        changes["projection_hidden"] = backbone.dim
    return settings.model_copy(update=changes)


def notices(settings: RunSettings, shorter_side: int, *, automatic: bool = False) -> list[str]:
    """What the user should know at the start, in the closing table and in the report.

    ``automatic``: ``--backbone auto`` came to the backbone that the settings name.
    """
    if settings.backbone.spec != "pico" or shorter_side <= auto.LARGE_IMAGES:
        return []
    why = f"{auto.NOTHING_BETTER} " if automatic else ""
    return [f"The images are {shorter_side} pixels and more. {why}{pico.NOTICE}"]


def reading_of(backbone: Backbone) -> list[str]:
    """How a file of weights was understood, where it had to be."""
    origin = backbone.origin
    if origin.evidence is None:
        return []
    return [f"{origin.spec} is read as {origin.format} ({origin.evidence})."]
