"""Which parameter gets which rate and which decay, and when."""

import math

import pytest
import torch
from torch import nn

from lacvit.backbones import Architecture, Backbone, Origin, build_backbone
from lacvit.config import ContrastiveSettings, CrossEntropySettings
from lacvit.input_spec import InputSpec
from lacvit.training.optim import (
    automatic_learning_rate,
    build_optimizer,
    clip_gradients,
    group_parameters,
    schedule,
    set_learning_rates,
)

DEPTH = 3


def tiny(**arguments: object) -> Backbone:
    shape = {"img_size": 16, "patch_size": 8, "embed_dim": 12, "depth": DEPTH, "num_heads": 2}
    architecture = Architecture(
        source="timm", name="vit_tiny_patch16_224", arguments=shape | arguments
    )
    spec = InputSpec(size=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    torch.manual_seed(0)
    return build_backbone(architecture, spec, Origin(spec="tiny", format="none"))


def rates_and_decays(
    backbone: Backbone, heads: dict[str, nn.Module], settings: ContrastiveSettings, lr: float
) -> dict[str, tuple[float, float]]:
    """Name -> the rate and decay that the optimiser will really apply."""
    groups = group_parameters(backbone, heads, settings)
    optimizer = build_optimizer(groups, settings.optimizer)
    set_learning_rates(optimizer, lr)
    applied = {}
    for table in optimizer.param_groups:
        for parameter in table["params"]:
            applied[id(parameter)] = (table["lr"], table["weight_decay"])
    return {
        name: applied[id(parameter)]
        for group in groups
        for name, parameter in zip(group.names, group.parameters, strict=True)
    }


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("layer_decay", [0.5, 0.75, 1.0])
def test_each_layer_gets_its_rate(layer_decay: float, kind: str) -> None:
    backbone, head = tiny(), nn.Linear(12, 4)
    settings = CrossEntropySettings(layer_decay=layer_decay, optimizer=kind, lr=1.0)
    given = rates_and_decays(backbone, {"head": head}, settings, lr=0.01)  # type: ignore[arg-type]
    everything = {f"backbone.{n}" for n, _ in backbone.named_parameters()}
    assert given.keys() == everything | {"head.weight", "head.bias"}
    for name, (rate, _) in given.items():
        parts = name.split(".")
        if parts[0] == "head" or parts[2] == "norm":
            power = 0
        elif parts[2] == "blocks":
            power = DEPTH - int(parts[3])
        else:
            assert parts[2] in ("cls_token", "pos_embed", "patch_embed"), name
            power = DEPTH + 1
        assert rate == pytest.approx(0.01 * layer_decay**power), name


def test_decay_spares_norms_biases_positions_and_tokens() -> None:
    backbone = tiny(reg_tokens=2, init_values=0.1, class_token=True)
    projection = nn.Sequential(nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 8))
    settings = ContrastiveSettings(weight_decay=0.05, lr=1.0)
    given = rates_and_decays(backbone, {"projection": projection}, settings, lr=1.0)
    decayed = {name for name, (_, decay) in given.items() if decay == 0.05}
    spared = {name for name, (_, decay) in given.items() if decay == 0.0}
    assert decayed | spared == given.keys()
    kinds = ("patch_embed.proj", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "projection.")
    for name in decayed:
        assert name.endswith(".weight"), name
        assert any(kind in name for kind in kinds), name
    assert len(decayed) == 1 + 4 * DEPTH + 2
    for part in ("cls_token", "reg_token", "pos_embed", "ls1.gamma", "norm.weight"):
        assert any(name.endswith(part) for name in spared), part


def test_timm_spares_no_other_parameter() -> None:
    backbone = tiny(reg_tokens=2)
    listed = backbone.encoder.no_weight_decay()
    for group in group_parameters(backbone, {}, ContrastiveSettings(lr=1.0)):
        for name, parameter in zip(group.names, group.parameters, strict=True):
            own = name.removeprefix("backbone.encoder.")
            assert (group.weight_decay == 0) == (own in listed or parameter.ndim == 1), name


def test_decay_all_spares_nothing() -> None:
    settings = CrossEntropySettings(decay_all=True, weight_decay=0.01, lr=1.0)
    given = rates_and_decays(tiny(), {}, settings, lr=1.0)  # type: ignore[arg-type]
    assert {decay for _, decay in given.values()} == {0.01}


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_layer_decay_moves_low_layers_less(kind: str) -> None:
    backbone = tiny()
    before = {name: p.detach().clone() for name, p in backbone.named_parameters()}
    settings = CrossEntropySettings(layer_decay=0.1, weight_decay=0.0, optimizer=kind, lr=1.0)
    optimizer = build_optimizer(group_parameters(backbone, {}, settings), kind)
    set_learning_rates(optimizer, 1e-2)
    for parameter in backbone.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    moved = {n: (p - before[n]).abs().mean().item() for n, p in backbone.named_parameters()}
    top = moved["encoder.norm.weight"]
    assert top == pytest.approx(1e-2, rel=1e-3)
    for index in range(DEPTH):
        step = moved[f"encoder.blocks.{index}.attn.qkv.weight"]
        assert step == pytest.approx(top * 0.1 ** (DEPTH - index), rel=2e-2)


def test_the_automatic_rate_falls_with_the_width() -> None:
    assert automatic_learning_rate("adamw", 192) == pytest.approx(0.128 / 192)
    assert automatic_learning_rate("adamw", 768) == pytest.approx(0.128 / 768)
    assert automatic_learning_rate("sgd", 768) == 0.01


def test_adapters_take_ten_times_the_automatic_rate_of_adamw() -> None:
    assert automatic_learning_rate("adamw", 768, lora=True) == pytest.approx(1.28 / 768)
    assert automatic_learning_rate("sgd", 768, lora=True) == 0.01


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("steps", [1, 7, 100])
def test_the_schedule_rises_then_falls_to_nothing(steps: int, warmup: float) -> None:
    shares = [schedule(step, steps=steps, warmup=warmup) for step in range(steps)]
    rising = round(warmup * steps)
    assert all(0 < share <= 1 for share in shares)
    assert shares[:rising] == [(i + 1) / rising for i in range(rising)]
    falling = shares[max(0, rising - 1) :]
    assert falling == sorted(falling, reverse=True)
    if rising < steps:
        assert shares[rising] == 1
    half = (steps + rising) / 2
    if half == int(half) and half < steps:
        assert shares[int(half)] == pytest.approx(0.5)
    assert schedule(steps, steps=steps, warmup=warmup) == pytest.approx(0, abs=1e-15)
    assert shares == [schedule(step, steps=steps, warmup=warmup) for step in range(steps)]


@pytest.mark.parametrize(("limit", "after"), [(1.0, 1.0), (10.0, 5.0), (0.0, 5.0)])
def test_gradients_are_clipped_to_a_common_norm(limit: float, after: float) -> None:
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    for parameter, gradient in zip(parameters, (3.0, 4.0), strict=True):
        parameter.grad = torch.tensor([gradient])
    assert clip_gradients(parameters, limit) == pytest.approx(5.0)
    norm = math.hypot(*(p.grad.item() for p in parameters if p.grad is not None))
    assert norm == pytest.approx(after, rel=1e-5)
