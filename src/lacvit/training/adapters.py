"""LoRA (Hu et al. 2022) through peft: small matrices beside the linear layers of every block.

Some attention reads the weights of a layer and never calls it (timm's BEiT, EVA-02 and Swin v2, for
qkv): what peft puts around such a layer would do nothing, so its weight itself is made the sum.

All are merged into the weights at the end, so that a saved model is an ordinary one. peft is an
extra and takes seconds to import, so it is imported where it is used.
"""

from __future__ import annotations

import importlib
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lacvit.backbones.backbone import Backbone
from lacvit.errors import InputError

ALPHA = 2  # the update is scaled by this, whatever the rank: lora_alpha = 2 * rank


class LowRankUpdate(nn.Module):
    """A weight (out, in) plus ``ALPHA * B A``: what peft's layer computes, for whoever reads it."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        outputs, inputs = weight.shape
        here = {"device": weight.device, "dtype": weight.dtype}
        # Layers, since the weights of layers decay; A is drawn as peft draws it.
        self.lora_A = nn.Linear(inputs, rank, bias=False, **here)
        self.lora_B = nn.Linear(rank, outputs, bias=False, **here)
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + ALPHA * (self.lora_B.weight @ self.lora_A.weight)


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
    peft = load_peft()
    called, read = _linear_layers(backbone)
    config = peft.LoraConfig(
        r=rank, lora_alpha=ALPHA * rank, lora_dropout=0.0, bias="none", target_modules=called
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone.requires_grad_(False)
        peft.inject_adapter_in_model(config, backbone.encoder)
        for layer in read:
            update = LowRankUpdate(layer.weight, rank)
            parametrize.register_parametrization(layer, "weight", update)


def merge_adapters(backbone: Backbone) -> None:
    """Add the adapters to the weights that they stand beside, and take them out, in place."""
    for name, module in list(backbone.encoder.named_modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
        elif hasattr(module, "get_base_layer"):  # peft's
            module.merge()
            backbone.encoder.set_submodule(name, module.get_base_layer())


def _linear_layers(backbone: Backbone) -> tuple[list[str], list[nn.Linear]]:
    """Linear layers of the blocks: names of those that are called, and those only read."""
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
    size = backbone.input_spec.size
    was_training = backbone.training
    image = torch.zeros(1, 3, size, size, device=next(backbone.parameters()).device)
    features = backbone.eval()(image)
    backbone.train(was_training)
    for hook in hooks:
        hook.remove()
    names = [name for name, layer in layers.items() if id(layer) in called]
    others = [layer for layer in layers.values() if id(layer) not in called]
    if not others:
        return names, []
    weights = [layer.weight for layer in others]
    pulls = torch.autograd.grad(features.sum(), weights, allow_unused=True)
    return names, [layer for layer, pull in zip(others, pulls, strict=True) if pull is not None]


def load_peft() -> ModuleType:
    """peft, imported when it is needed.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module("peft")
    except ModuleNotFoundError as error:
        if error.name != "peft":
            raise
        raise InputError(
            "--trainable lora needs peft, which is not installed. Install it with: "
            "pip install 'peft>=0.17'"
        ) from error
