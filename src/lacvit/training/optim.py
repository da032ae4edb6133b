"""Parameter groups with layer decay, the optimisers, and the schedule as a function of the step.

Every group carries its own ``lr_scale``, and :func:`set_learning_rates` applies it: torch's
optimisers ignore such a key, so a scale that nobody applies would silently do nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from lacvit.backbones.backbone import Backbone
from lacvit.config import OptimizerSettings

# Layers whose weights decay. Everything else is spared: biases, norms, scales, and whatever stands
# by itself or in an embedding, which are tokens and positions in every family.
DECAYING = (nn.Linear, nn.modules.conv._ConvNd, nn.MultiheadAttention)
# Small networks that make Swin v2's positions, in timm's name and in transformers'; its authors
# spare them too.
POSITION_NETWORKS = (
    *("cpb_mlp", "continuous_position_bias_mlp", "meta_mlp"),  # Swin v2 and its variants
    *("rel_pos", "shared_rel_pos"),  # timm's ViTs with relative positions
)
ADAM_BETAS = (0.9, 0.999)
SGD_MOMENTUM = 0.9
# adamw: the peak rate is this over the width: 1e-3 for pico, where lacvit is best and cross-entropy
# level with its best (docs/log.md), and 1.7e-4 for a ViT-B, as such models are fine-tuned.
WIDTH_RATE = 0.128
SGD_RATE = 0.01
# adamw and LoRA: the best rate is about ten times that of all weights (Schulman et al. 2025, LoRA
# without regret, at lora_alpha = 32, ours at the default rank).
LORA_RATE = 10


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a learning rate and a weight decay."""

    names: tuple[str, ...]
    parameters: tuple[nn.Parameter, ...]
    lr_scale: float
    weight_decay: float


def automatic_learning_rate(optimizer: str, dim: int, *, lora: bool = False) -> float:
    """The peak rate that ``lr = "auto"`` stands for.

    Wider encoders take smaller steps, adapters larger ones.
    """
    if optimizer != "adamw":
        return SGD_RATE
    return WIDTH_RATE / dim * (LORA_RATE if lora else 1)


def group_parameters(
    backbone: Backbone, heads: Mapping[str, nn.Module], settings: OptimizerSettings
) -> list[ParameterGroup]:
    """Groups by depth, with and without weight decay.

    The embeddings are at depth 0, block ``i`` at ``i + 1``, everything after the last block and
    the heads at the top, and the rate falls by ``layer_decay`` a step of depth down from there.
    Weight decay spares norms, biases, positions and tokens unless ``decay_all``.
    """
    top = len(backbone.blocks()) + 1
    depth = {id(p): i + 1 for i, block in enumerate(backbone.blocks()) for p in block.parameters()}
    depth |= {id(p): top for module in backbone.final() for p in module.parameters()}
    named = [(f"backbone.{n}", p, depth.get(id(p), 0)) for n, p in backbone.named_parameters()]
    named += [
        (f"{head}.{n}", p, top)
        for head, module in heads.items()
        for n, p in module.named_parameters()
    ]
    decaying = {id(p) for module in (backbone, *heads.values()) for p in _decaying(module)}
    groups: dict[tuple[int, bool], list[tuple[str, nn.Parameter]]] = {}
    for name, parameter, level in named:
        if parameter.requires_grad:
            decays = settings.decay_all or id(parameter) in decaying
            groups.setdefault((level, decays), []).append((name, parameter))
    return [
        ParameterGroup(
            names=tuple(name for name, _ in members),
            parameters=tuple(parameter for _, parameter in members),
            lr_scale=settings.layer_decay ** (top - level),
            weight_decay=settings.weight_decay if decays else 0.0,
        )
        for (level, decays), members in sorted(groups.items())
    ]


def _decaying(network: nn.Module) -> Iterator[nn.Parameter]:
    """The weights of a network's linear, convolution and attention layers."""
    for name, module in network.named_modules():
        if isinstance(module, DECAYING) and not set(name.split(".")) & set(POSITION_NETWORKS):
            yield from (p for p in module.parameters(recurse=False) if p.ndim > 1)


def build_optimizer(groups: Sequence[ParameterGroup], kind: str) -> torch.optim.Optimizer:
    """AdamW or SGD over the groups; their rates are set before every step."""
    tables = [
        {"params": group.parameters, "weight_decay": group.weight_decay, "lr_scale": group.lr_scale}
        for group in groups
    ]
    if kind == "adamw":
        return torch.optim.AdamW(tables, lr=0.0, betas=ADAM_BETAS, fused=True)
    return torch.optim.SGD(tables, lr=0.0, momentum=SGD_MOMENTUM)


def set_learning_rates(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group ``lr`` times its own scale."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


def schedule(step: int, *, steps: int, warmup: float) -> float:
    """Share of the peak rate at ``step`` of ``steps``: a linear rise, then a cosine to zero.

    ``warmup`` is the share of the steps that rise. Pure, so that a resumed run cannot differ.
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> float:
    """Scale all gradients down to a common norm of ``limit``; gives the norm before."""
    bound = limit if limit > 0 else math.inf
    return float(nn.utils.clip_grad_norm_(parameters, bound).detach())
