"""LoRA (Hu et al. 2022) through peft: small matrices beside the linear layers of every block.

They are merged into the weights at the end, so that a saved model is an ordinary one. peft is an
extra and takes seconds to import, so it is imported where it is used.
"""

from __future__ import annotations

import importlib
from types import ModuleType

import torch
from torch import nn

from lacvit.backbones.backbone import Backbone
from lacvit.backbones.torchvision_shim import ensure_torchvision
from lacvit.errors import InputError

ALPHA = 2  # the update is scaled by this, whatever the rank: lora_alpha = 2 * rank


def add_adapters(backbone: Backbone, *, rank: int, seed: int) -> None:
    """Freeze a backbone and give its blocks adapters that train, in place; once.

    The second matrix of each starts at zero, so the features do not change. The first is drawn
    from ``seed`` alone, so that a run resumed is the run.

    Args:
        backbone: any.
        rank: of the update of each weight.
        seed: of the run.

    Raises:
        InputError: peft is not installed.
    """
    if any("lora_" in name for name, _ in backbone.named_parameters()):
        return
    peft = _peft()
    config = peft.LoraConfig(
        r=rank, lora_alpha=ALPHA * rank, lora_dropout=0.0, bias="none",
        target_modules=_linear_layers(backbone),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone.requires_grad_(False)
        peft.inject_adapter_in_model(config, backbone.encoder)


def merge_adapters(backbone: Backbone) -> None:
    """Add the adapters to the weights that they stand beside, and take them out, in place."""
    for name, module in list(backbone.encoder.named_modules()):
        if hasattr(module, "lora_A"):
            module.merge()
            backbone.encoder.set_submodule(name, module.get_base_layer())


def _linear_layers(backbone: Backbone) -> list[str]:
    """The linear layers of the blocks that a forward pass calls.

    Some attention reads the weights of a layer and never calls it (timm's BEiT and Swin v2, for
    qkv): an adapter there would do nothing.
    """
    inside = {id(module) for block in backbone.blocks() for module in block.modules()}
    layers = {
        name: module
        for name, module in backbone.encoder.named_modules()
        if isinstance(module, nn.Linear) and id(module) in inside
    }
    called: set[int] = set()
    hooks = [
        layer.register_forward_hook(lambda layer, *_: called.add(id(layer)))
        for layer in layers.values()
    ]
    device = next(backbone.parameters()).device
    size = backbone.input_spec.size
    was_training = backbone.training
    with torch.no_grad():
        backbone.eval()(torch.zeros(1, 3, size, size, device=device))
    backbone.train(was_training)
    for hook in hooks:
        hook.remove()
    return [name for name, layer in layers.items() if id(layer) in called]


def _peft() -> ModuleType:
    ensure_torchvision()
    try:
        return importlib.import_module("peft")
    except ModuleNotFoundError as error:
        if error.name != "peft":
            raise
        raise InputError(
            "--trainable lora needs peft, which is not installed. Install it with: "
            "pip install 'lacvit[lora]'"
        ) from error
