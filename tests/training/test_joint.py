"""The joint stage: the weighted sum of two losses that are computed apart, on the same views."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small_material import COMPUTE, KillAfter, Killed, images, plan, small_backbone
from torch import Tensor
from torch.nn import functional

from lacvit.backbones import Backbone
from lacvit.config import CrossEntropySettings, JointSettings
from lacvit.losses import sincere_loss, supcon_loss
from lacvit.run_folder import StageFolder
from lacvit.training.cross_entropy import CrossEntropyStage
from lacvit.training.heads import fresh_head
from lacvit.training.joint import JointStage
from lacvit.training.logs import Silence
from lacvit.training.loop import LoopPlan, run_stage
from lacvit.training.material import encode_images
from lacvit.training.optim import build_optimizer, set_learning_rates

LOOP = LoopPlan(epochs=3, optimizer="adamw", lr=1e-3, warmup=0.25, clip_norm=3.0, seed=0)


def joint(backbone: Backbone, views: int = 2, **settings: Any) -> JointStage:
    torch.manual_seed(3)
    head = fresh_head(backbone.dim, 2)
    given = JointSettings(projection_dim=8, lr=1e-3, **settings)
    views_plan = plan(backbone, views=views)
    return JointStage(backbone, head, images(), images(6, seed=1), given, views_plan, COMPUTE)


def loss_and_gradients(stage: Any) -> tuple[Tensor, dict[str, Tensor], dict[str, float]]:
    stage.begin_epoch()
    loss, scalars = stage.step(next(stage.batches(0)))
    loss.backward()
    gradients = {
        f"{module}.{name}": parameter.grad
        for module, network in stage.modules.items()
        for name, parameter in network.named_parameters()
    }
    return loss.detach(), gradients, scalars


@pytest.mark.parametrize("micro_batch", [None, 1, 3])
@pytest.mark.parametrize(
    ("views", "weight", "smoothing", "beta"),
    [(2, 0.5, 0.1, 0.0), (3, 0.3, 0.0, 0.0), (2, 0.9, 0.1, 1.5)],
)
def test_a_step_is_the_weighted_sum_of_the_two_losses(
    views: int, weight: float, smoothing: float, beta: float, micro_batch: int | None
) -> None:
    stage = joint(
        small_backbone(), views, contrastive_weight=weight, label_smoothing=smoothing,
        temperature=0.2, negative_weighting=beta, micro_batch=micro_batch,
    )  # fmt: skip
    loss, gradients, scalars = loss_and_gradients(stage)
    apart = joint(small_backbone(), views)
    batch = next(apart.batches(0))
    features = apart.modules["backbone"](batch.views_BVCHW.flatten(0, 1))
    logits, projections = (apart.modules[name](features) for name in ("head", "projection"))
    labels = batch.labels_B.repeat_interleave(views)
    classifying = functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    contrasting = supcon_loss(projections, labels, temperature=0.2, negative_weighting=beta)
    expected = (1 - weight) * classifying + weight * contrasting
    expected.backward()
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-5, atol=1e-6)
    for module, network in apart.modules.items():
        for name, parameter in network.named_parameters():
            key = f"{module}.{name}"
            torch.testing.assert_close(
                gradients[key], parameter.grad, rtol=1e-4, atol=1e-6, msg=lambda m, k=key: k + m
            )
    assert scalars == pytest.approx(
        {
            "cross_entropy_loss": classifying.item(),
            "contrastive_loss": contrasting.item(),
            "train_accuracy": (logits.argmax(1) == labels).float().mean().item(),
        },
        rel=1e-5,
    )


def test_the_contrast_is_the_one_that_was_chosen() -> None:
    stage = joint(small_backbone(), loss="sincere")
    batch = next(stage.batches(0))
    projections = stage.modules["projection"](
        stage.modules["backbone"](batch.views_BVCHW.flatten(0, 1))
    )
    expected = sincere_loss(projections, batch.labels_B.repeat_interleave(2)).item()
    assert stage.step(batch)[1]["contrastive_loss"] == pytest.approx(expected, rel=1e-5)


def test_without_the_contrast_it_is_cross_entropy_on_all_views() -> None:
    one = joint(small_backbone(), contrastive_weight=0.0)
    backbone = small_backbone()
    torch.manual_seed(3)
    other = CrossEntropyStage(
        backbone, fresh_head(backbone.dim, 2), images(), images(6, seed=1),
        CrossEntropySettings(lr=1e-3), plan(backbone, views=2), COMPUTE,
    )  # fmt: skip
    loss, gradients, scalars = loss_and_gradients(one)
    expected, truth, told = loss_and_gradients(other)
    assert loss == expected
    assert scalars["train_accuracy"] == told["train_accuracy"]
    for name, gradient in gradients.items():
        if name.startswith("projection"):
            assert gradient.abs().max() == 0, name
        else:
            torch.testing.assert_close(gradient, truth[name], rtol=1e-5, atol=1e-7)


def test_the_encoder_and_both_heads_learn() -> None:
    for name, gradient in loss_and_gradients(joint(small_backbone()))[1].items():
        if "qkv.bias" not in name and "pos_embed" not in name:
            assert gradient.abs().sum() > 0, name


def test_both_heads_learn_at_the_full_rate_and_blocks_at_less_the_deeper() -> None:
    stage = joint(small_backbone(), layer_decay=0.5)
    groups = stage.parameter_groups()
    optimizer = build_optimizer(groups, "adamw")
    set_learning_rates(optimizer, 1e-3)
    rates = {
        name: group["lr"]
        for group, names in zip(optimizer.param_groups, (g.names for g in groups), strict=True)
        for name in names
    }
    assert rates["head.weight"] == rates["projection.0.weight"] == rates["projection.2.bias"]
    assert rates["head.weight"] == 1e-3
    blocks = [
        next(rate for name, rate in rates.items() if f"blocks.{i}.attn" in name) for i in (1, 0)
    ]
    embedding = next(rate for name, rate in rates.items() if "patch_embed" in name)
    assert [*blocks, embedding] == [0.5e-3, 0.25e-3, 0.125e-3]
    of_modules = sum(len(list(module.parameters())) for module in stage.modules.values())
    assert len(rates) == of_modules


def test_validation_is_that_of_the_linear_head() -> None:
    backbone = small_backbone()
    stage = joint(backbone)
    validation = images(6, seed=1)
    features = torch.from_numpy(encode_images(validation.images, backbone, COMPUTE))
    logits, labels = stage.modules["head"](features), torch.tensor(validation.labels_N)
    assert stage.validate() == pytest.approx(
        {
            "validation_accuracy": (logits.argmax(1) == labels).float().mean().item(),
            "validation_loss": functional.cross_entropy(logits, labels).item(),
        }
    )


def test_a_resumed_stage_ends_in_the_same_weights(tmp_path: Path) -> None:
    dropping = {"proj_drop_rate": 0.2, "drop_path_rate": 0.3}
    whole, first, second = (joint(small_backbone(**dropping)) for _ in range(3))
    run_stage(whole, LOOP, StageFolder(tmp_path / "whole"), Silence())
    with pytest.raises(Killed):
        run_stage(first, LOOP, StageFolder(tmp_path / "cut"), KillAfter(0))
    torch.manual_seed(77)
    run_stage(second, LOOP, StageFolder(tmp_path / "cut"), Silence())
    for name, module in whole.modules.items():
        truth, cut = module.state_dict(), first.modules[name].state_dict()
        for key, tensor in second.modules[name].state_dict().items():
            assert torch.equal(tensor, truth[key]), key
        assert any(not torch.equal(cut[key], truth[key]) for key in truth), name
