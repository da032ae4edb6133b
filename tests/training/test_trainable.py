"""What trains in every family of backbone, at which rate, with which decay; LoRA; drop-path."""

import re
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from hf_folders import TINY
from lacvit.backbones import Architecture, Backbone, Origin, build_backbone
from lacvit.config import BackboneSettings, CrossEntropySettings
from lacvit.errors import InputError
from lacvit.input_spec import InputSpec
from lacvit.training import adapters
from lacvit.training.adapters import add_adapters, merge_adapters
from lacvit.training.optim import build_optimizer, group_parameters, set_learning_rates
from lacvit.training.trainable import prepare, set_trainable

VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 3, "num_heads": 2}
SWIN = {"img_size": 32, "patch_size": 4, "embed_dim": 8, "depths": (1, 2), "num_heads": (2, 2),
        "window_size": 4}  # fmt: skip
# Name -> timm's architecture and arguments. Transformers' families are those of hf_folders.
TIMM: dict[str, tuple[str, dict[str, Any]]] = {
    "timm-vit": ("vit_tiny_patch16_224", VIT | {"reg_tokens": 2, "init_values": 0.1}),
    "timm-siglip": ("vit_base_patch16_siglip_224", VIT),
    "timm-beit": ("beit_base_patch16_224", VIT),
    "timm-eva02": ("eva02_tiny_patch14_224", VIT),
    "timm-dinov3": ("vit_small_patch16_dinov3", VIT),
    "timm-deit-distilled": ("deit_tiny_distilled_patch16_224", VIT),
    "timm-relpos": ("vit_relpos_small_patch16_224", VIT),
    "timm-swin": ("swin_tiny_patch4_window7_224", SWIN),
    "timm-swinv2": ("swinv2_tiny_window8_256", SWIN),
}
HF = ("vit", "deit", "beit", "data2vec-vision", "dinov2_with_registers", "dinov3_vit",
      "clip_vision_model", "siglip_vision_model", "swinv2", "vit_mae")  # fmt: skip
FAMILIES = [*TIMM, *HF]
# One of each way to write a block, where a test must run the network.
KINDS = ("timm-vit", "timm-beit", "timm-eva02", "timm-swinv2", "vit", "data2vec-vision",
         "dinov3_vit", "clip_vision_model", "swinv2")  # fmt: skip


def backbone_of(family: str) -> Backbone:
    if family in TIMM:
        name, arguments = TIMM[family]
        architecture = Architecture(source="timm", name=name, arguments=arguments)
    else:
        tiny = TINY[family]
        config = {"config": tiny.shape | tiny.config | {"mask_ratio": 0.0}, "pool": None}
        if family != "vit_mae":
            del config["config"]["mask_ratio"]
        architecture = Architecture(source="hf", name=tiny.model_type, arguments=config)
    spec = InputSpec(size=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    torch.manual_seed(0)
    backbone = build_backbone(architecture, spec, Origin(spec=family, format="none"))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # a layer scale of zero would hide what is behind it
        for parameter in backbone.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
    return backbone


def images(n: int = 3) -> torch.Tensor:
    return torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def settings(**chosen: Any) -> BackboneSettings:
    return BackboneSettings(**chosen)


def depth_of(name: str) -> int:
    """By the name: 0 before the blocks, 1 to 3 for them, 4 for what follows."""
    if found := re.search(r"(?:layers|stages|encoder\.layers)\.(\d)\.blocks\.(\d)\.", name):
        return 1 + int(found[1]) + int(found[2])
    if re.search(r"layers\.1\.downsample", name) or re.search(r"layers\.0\.downsample", name):
        return 2  # merges patches for the second block
    if found := re.search(r"(?:blocks|layers?)\.(\d)\.", name):
        return 1 + int(found[1])
    follows = r"encoder\.(tower\.)?(norm|fc_norm|attn_pool|layernorm|post_layernorm|pooler|head)\."
    return 4 if re.match(follows, name) else 0


@pytest.mark.parametrize("family", FAMILIES)
def test_every_weight_moves_by_the_rate_of_its_depth(family: str) -> None:
    backbone = backbone_of(family)
    chosen = CrossEntropySettings(layer_decay=0.5, weight_decay=0.0, lr=1.0)
    optimizer = build_optimizer(group_parameters(backbone, {}, chosen), "adamw")
    set_learning_rates(optimizer, 1e-2)
    before = {name: p.detach().clone() for name, p in backbone.named_parameters()}
    for parameter in backbone.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    seen = set()
    for name, parameter in backbone.named_parameters():
        moved = (parameter - before[name]).abs().mean().item()
        if parameter.requires_grad:
            seen.add(depth_of(name))
            assert moved == pytest.approx(1e-2 * 0.5 ** (4 - depth_of(name)), rel=0.02), name
        else:
            assert moved == 0, name
    assert seen == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("family", FAMILIES)
def test_decay_spares_norms_biases_positions_and_tokens(family: str) -> None:
    backbone = backbone_of(family)
    spared = re.compile(
        r".*(bias|norm\w*\.(weight|bias)|norm\.weight|pos_embed|token\w*|position_embeddings?"
        r"(\.weight)?|class_embedding|gamma(_\d)?|lambda_?\d?|lambda\d|layer_scale\w*|probe|latent"
        r"|table|logit_scale|inv_freq|(cpb_mlp|continuous_position_bias_mlp)\.\d\.weight"
        r"|(meta_mlp|rel_pos\.mlp)\.fc\d\.weight|layernorm_(before|after)\.weight|norm\d\.weight|layer_norm\d\.weight)$"
    )
    for group in group_parameters(backbone, {}, CrossEntropySettings(weight_decay=0.05, lr=1.0)):
        for name, parameter in zip(group.names, group.parameters, strict=True):
            assert (group.weight_decay == 0) == bool(spared.match(name)), name
            assert group.weight_decay == 0 or parameter.ndim >= 2, name


@pytest.mark.parametrize("family", FAMILIES)
def test_last_n_trains_the_last_blocks_and_what_follows(family: str) -> None:
    backbone, count = backbone_of(family), 2
    set_trainable(backbone, settings(trainable=f"last-{count}"), seed=0)
    trained = {depth_of(name) for name, p in backbone.named_parameters() if p.requires_grad}
    assert trained == set(range(4 - count, 5))
    frozen = {depth_of(name) for name, p in backbone.named_parameters() if not p.requires_grad}
    assert frozen == set(range(4 - count))


def test_head_trains_nothing_of_the_backbone() -> None:
    backbone = backbone_of("timm-vit")
    set_trainable(backbone, settings(trainable="head"), seed=0)
    assert not any(p.requires_grad for p in backbone.parameters())


@pytest.mark.parametrize("family", KINDS)
def test_lora_trains_adapters_alone_and_merges_into_the_weights(family: str) -> None:
    backbone = backbone_of(family).eval()
    keys = list(backbone.state_dict())
    own = {name: p.detach().clone() for name, p in backbone.named_parameters()}
    with torch.no_grad():
        untouched = backbone(images())
    for _ in range(2):  # the second call changes nothing
        set_trainable(backbone, settings(trainable="lora", lora_rank=2), seed=3)
    with torch.no_grad():
        torch.testing.assert_close(backbone(images()), untouched)
    optimizer = build_optimizer(
        group_parameters(backbone, {}, CrossEntropySettings(layer_decay=0.5, lr=1.0)), "adamw"
    )
    set_learning_rates(optimizer, 1e-2)
    for _ in range(2):  # the first step moves B alone, since it starts at zero
        optimizer.zero_grad()
        backbone(images()).square().sum().backward()
        optimizer.step()
    for name, parameter in backbone.named_parameters():
        if "lora_" in name:
            assert parameter.requires_grad, name
            assert parameter.grad is not None, f"{name} has no part in the features"
            assert parameter.grad.abs().sum() > 0, name
        else:
            plain = name.replace(".base_layer", "").replace(
                "parametrizations.weight.original", "weight"
            )
            assert not parameter.requires_grad, name
            assert torch.equal(parameter, own[plain]), name
    with torch.no_grad():
        trained = backbone(images())
    assert (trained - untouched).abs().max() > 1e-3
    merge_adapters(backbone)
    assert list(backbone.state_dict()) == keys
    with torch.no_grad():
        torch.testing.assert_close(backbone(images()), trained, atol=1e-4, rtol=1e-4)
    fresh = backbone_of(family).eval()
    fresh.load_state_dict(backbone.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(fresh(images()), trained, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", KINDS)
def test_lora_reaches_every_linear_layer_of_the_blocks(family: str) -> None:
    backbone = backbone_of(family)
    own = {m.weight.data_ptr() for b in backbone.blocks() for m in b.modules() if is_linear(m)}
    add_adapters(backbone, rank=2, seed=0)
    inside = [m for block in backbone.blocks() for m in block.modules()]
    adapted = [m.get_base_layer().weight for m in inside if hasattr(m, "get_base_layer")]
    adapted += [m.parametrizations.weight.original for m in inside if is_parametrized(m)]
    assert {weight.data_ptr() for weight in adapted} == own
    assert len(adapted) == len(own) > 0


def is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear)


@pytest.mark.parametrize("family", ["timm-vit", "timm-beit"])  # beside layers; of their weights
def test_adapters_are_drawn_from_the_seed_alone(family: str) -> None:
    drawn = []
    for seed, other in ((5, 0), (5, 1), (6, 0)):
        backbone = backbone_of(family)
        torch.manual_seed(other)
        add_adapters(backbone, rank=2, seed=seed)
        drawn.append(
            torch.cat([p.flatten() for n, p in backbone.named_parameters() if "lora_A" in n])
        )
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_without_peft_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(adapters.importlib, "import_module", missing)
    with pytest.raises(InputError, match=r"lora needs peft, .* pip install 'peft>=0.17'"):
        set_trainable(backbone_of("timm-vit"), settings(trainable="lora"), seed=0)


@pytest.mark.parametrize("family", KINDS)
def test_drop_path_leaves_out_branches_in_training_alone(family: str) -> None:
    plain, dropping = backbone_of(family).eval(), backbone_of(family)
    prepare(dropping, settings(drop_path=0.5), seed=0)
    assert list(dropping.state_dict()) == list(plain.state_dict())
    with torch.no_grad():
        wanted = plain(images())
        torch.testing.assert_close(dropping.eval()(images()), wanted)
        dropping.train()
        torch.manual_seed(0)
        first, second = dropping(images()), dropping(images())
    assert not torch.equal(first, second)
    first_block = dropping.blocks()[0]  # its rate is zero
    rates = [m.drop_prob for m in first_block.modules() if type(m).__name__ == "DropPath"]
    assert not any(rates)


def test_a_block_without_branches_cannot_drop() -> None:
    backbone = backbone_of("timm-vit")
    backbone._blocks = (nn.Linear(2, 2), nn.Linear(2, 2))
    with pytest.raises(InputError, match="timm-vit has no branches to drop"):
        prepare(backbone, settings(drop_path=0.1), seed=0)


@pytest.mark.parametrize("family", KINDS)
def test_checkpointed_gradients_are_the_gradients(family: str) -> None:
    found = []
    for saving in (False, True):
        backbone = backbone_of(family).train()
        prepare(backbone, settings(gradient_checkpointing=saving), seed=0)
        passes = _count_passes(backbone)
        backbone(images()).square().sum().backward()
        found.append({n: p.grad for n, p in backbone.named_parameters() if p.grad is not None})
        assert len(passes) == (2 if saving else 1), "checkpointing runs a block twice"
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, msg=name)


def _count_passes(backbone: Backbone) -> list[int]:
    """One entry for every time that a layer of the first block runs."""
    passes: list[int] = []
    norm = next(m for m in backbone.blocks()[0].modules() if isinstance(m, nn.LayerNorm))
    norm.register_forward_hook(lambda *_: passes.append(1))
    return passes


@pytest.mark.parametrize(
    "family", ["timm-swin", "timm-swinv2", "beit", "data2vec-vision", "swinv2"]
)
def test_a_drop_path_of_nought_takes_away_what_a_family_comes_with(family: str) -> None:
    """timm's Swin and transformers' BEiT are built with 0.1."""
    backbone = backbone_of(family)
    prepare(backbone, settings(), seed=0)
    backbone.train()
    for module in backbone.modules():  # what else is drawn anew each time
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    with torch.no_grad():
        first, second = backbone(images(8)), backbone(images(8))
    torch.testing.assert_close(first, second)
