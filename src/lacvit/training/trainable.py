"""Which of a backbone's weights train, and what is done to them meanwhile."""

from __future__ import annotations

from lacvit.backbones.backbone import Backbone
from lacvit.backbones.drop_path import set_drop_path
from lacvit.config import BackboneSettings
from lacvit.training.adapters import add_adapters


def set_trainable(backbone: Backbone, settings: BackboneSettings, *, seed: int) -> None:
    """Let gradients reach what ``settings.trainable`` names; a second call changes nothing.

    ``all`` of the backbone; its ``last-N`` blocks and what follows them; ``lora``: adapters beside
    the blocks' linear layers, and no weight of its own; ``head``: nothing of it.

    Raises:
        InputError: ``lora`` without peft.
    """
    trainable = settings.trainable
    if trainable == "lora":
        add_adapters(backbone, rank=settings.lora_rank, seed=seed)
    elif trainable != "all":
        backbone.requires_grad_(False)
    if trainable.startswith("last-"):
        count = int(trainable.removeprefix("last-"))
        for module in (*backbone.blocks()[-count:], *backbone.final()):
            module.requires_grad_(True)
    if settings.gradient_checkpointing:
        backbone.checkpoint_gradients()


def prepare(backbone: Backbone, settings: BackboneSettings, *, seed: int) -> None:
    """Make a backbone ready for the stages that train it: once, before the first.

    Some families come with drop-path of their own (Swin, transformers' BEiT: 0.1): 0 is none.

    Raises:
        InputError: ``lora`` without peft, or drop-path on blocks that cannot drop.
    """
    set_trainable(backbone, settings, seed=seed)
    set_drop_path(backbone, settings.drop_path)
