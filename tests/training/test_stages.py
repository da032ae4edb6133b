"""The three stages: each step is what its formula says, and a resume changes no bit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_material import COMPUTE, KillAfter, Killed, images, plan, small_backbone
from torch import Tensor, nn

from lacvit.backbones import Backbone, load_backbone
from lacvit.config import ContrastiveSettings, CrossEntropySettings, HeadSettings
from lacvit.losses import npair_loss, sincere_loss, supcon_floor, supcon_loss
from lacvit.metrics.neighbours import knn_accuracy
from lacvit.run_folder import StageFolder
from lacvit.training.contrastive import ContrastiveStage
from lacvit.training.cross_entropy import CrossEntropyStage
from lacvit.training.head import HeadStage
from lacvit.training.heads import fresh_head
from lacvit.training.logs import Silence
from lacvit.training.loop import LoopPlan, run_stage
from lacvit.training.material import encode_images

LOOP = LoopPlan(epochs=4, optimizer="adamw", lr=1e-3, warmup=0.25, clip_norm=3.0, seed=0)


def contrastive(backbone: Backbone, views: int = 2, **settings: Any) -> ContrastiveStage:
    torch.manual_seed(3)
    given = ContrastiveSettings(projection_dim=8, lr=1e-3, **settings)
    views_plan = plan(backbone, views=views)
    return ContrastiveStage(backbone, images(), images(6, seed=1), given, views_plan, COMPUTE)


def cross_entropy(backbone: Backbone, **settings: Any) -> CrossEntropyStage:
    torch.manual_seed(3)
    head = fresh_head(backbone.dim, 2)
    given = CrossEntropySettings(lr=1e-3, **settings)
    views_plan = plan(backbone, views=1)
    return CrossEntropyStage(
        backbone, head, images(), images(6, seed=1), given, views_plan, COMPUTE
    )


def head(backbone: Backbone, features: str = "cached", batch_size: int = 4) -> HeadStage:
    torch.manual_seed(3)
    linear = fresh_head(backbone.dim, 2)
    given = HeadSettings(solver="sgd", features=features, batch_size=batch_size)  # type: ignore[arg-type]
    views_plan = plan(backbone, views=1, batch_size=batch_size)
    return HeadStage(backbone, linear, images(), images(6, seed=1), given, views_plan, COMPUTE)


def weights(*modules: nn.Module) -> list[Tensor]:
    return [t.clone() for module in modules for t in module.state_dict().values()]


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(x) for x in StageFolder(folder).metrics.read_text().splitlines()]


# --- contrastive -------------------------------------------------------------------------------


@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("loss_scale", [1.0, 0.5])
def test_a_contrastive_step_is_the_papers_loss(views: int, loss_scale: float) -> None:
    backbone = small_backbone()
    stage = contrastive(backbone, views, temperature=0.2, loss_scale=loss_scale)
    stage.begin_epoch()
    batch = next(stage.batches(0))
    loss, scalars = stage.step(batch)
    b = len(batch.labels_B)
    projection = stage.modules["projection"]
    z, labels = [], []
    for i in range(b):  # image by image, view by view
        for v in range(views):
            raw = projection(backbone(batch.views_BVCHW[i, v][None]))[0]
            z.append(raw / raw.norm())
            labels.append(int(batch.labels_B[i]))
    n, terms = len(z), []
    for i in range(n):
        others = [a for a in range(n) if a != i]
        positives = [a for a in others if labels[a] == labels[i]]
        log_sum = torch.logsumexp(torch.stack([z[i] @ z[a] / 0.2 for a in others]), 0)
        terms.append(log_sum - torch.stack([z[i] @ z[p] / 0.2 for p in positives]).mean())
    by_hand = loss_scale * torch.stack(terms).mean()
    torch.testing.assert_close(loss, by_hand, rtol=1e-5, atol=1e-6)
    direct = supcon_loss(torch.stack(z), torch.tensor(labels), temperature=0.2)
    torch.testing.assert_close(loss, loss_scale * direct, rtol=1e-5, atol=1e-6)
    assert scalars["loss_start"] == pytest.approx(loss_scale * np.log(b * views - 1))
    assert scalars["loss_floor"] < loss.item()
    assert scalars["loss_floor"] < scalars["loss_start"]


@pytest.mark.parametrize(
    ("name", "weighting", "direct"),
    [
        ("supcon", 0.0, lambda z, labels, images: supcon_loss(z, labels)),
        (
            "supcon",
            1.5,
            lambda z, labels, images: supcon_loss(z, labels, negative_weighting=1.5),
        ),
        ("simclr", 0.0, lambda z, labels, images: supcon_loss(z, images)),
        ("npair", 0.0, lambda z, labels, images: npair_loss(z, labels)),
        ("sincere", 0.0, lambda z, labels, images: sincere_loss(z, labels)),
    ],
)
def test_a_step_is_the_loss_that_was_chosen(
    name: str, weighting: float, direct: Callable[..., torch.Tensor]
) -> None:
    backbone = small_backbone()
    stage = contrastive(backbone, loss=name, negative_weighting=weighting)
    stage.begin_epoch()
    batch = next(stage.batches(0))
    loss, scalars = stage.step(batch)
    z = stage.modules["projection"](backbone(batch.views_BVCHW.flatten(0, 1)))
    labels = batch.labels_B.repeat_interleave(2)
    images = torch.arange(len(batch.labels_B)).repeat_interleave(2)
    torch.testing.assert_close(loss, direct(z, labels, images), rtol=1e-5, atol=1e-6)
    fitting = ["loss_floor", "loss_start"] if name in ("supcon", "simclr") else []
    assert sorted(scalars) == fitting
    if name == "simclr":  # every image its own class: a higher floor than with labels
        assert scalars["loss_floor"] == pytest.approx(supcon_floor(images, 0.1))


def test_the_whole_encoder_and_the_projection_learn() -> None:
    stage = contrastive(small_backbone())
    stage.begin_epoch()
    stage.step(next(stage.batches(0)))[0].backward()
    for module in stage.modules.values():
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, name
            if "qkv.bias" not in name and "pos_embed" not in name:
                assert parameter.grad.abs().sum() > 0, name


def test_validation_is_judged_among_the_epochs_own_views() -> None:
    backbone = small_backbone()
    stage = contrastive(backbone)
    for epoch in range(2):  # the second epoch forgets the first one's gallery
        stage.begin_epoch()
        gallery, labels = [], []
        with torch.no_grad():
            for batch in stage.batches(epoch):
                stage.step(batch)
                gallery.append(backbone(batch.views_BVCHW[:, 0]))
                labels.append(batch.labels_B)
        scalars = stage.validate()
        validation = images(6, seed=1)
        expected = knn_accuracy(
            torch.cat(gallery).numpy(),
            torch.cat(labels).numpy(),
            encode_images(validation.images, backbone, COMPUTE),
            validation.labels_N,
            k=3,
        )
        assert scalars["knn_accuracy"] == expected == 1.0  # dark from bright is easy
        assert 1 <= scalars["effective_rank"] <= 6


def test_one_validation_image_has_no_rank() -> None:
    backbone = small_backbone()
    settings = ContrastiveSettings(projection_dim=8, lr=1e-3)
    stage = ContrastiveStage(
        backbone, images(), images(1), settings, plan(backbone, views=2), COMPUTE
    )
    stage.begin_epoch()
    stage.step(next(stage.batches(0)))
    assert stage.validate().keys() == {"knn_accuracy"}


def test_a_last_batch_of_one_image_is_no_trouble(tmp_path: Path) -> None:
    backbone = small_backbone()
    settings = ContrastiveSettings(projection_dim=8, lr=1e-3)
    one_left = plan(backbone, views=2, batch_size=9)
    stage = ContrastiveStage(backbone, images(10), images(6, seed=1), settings, one_left, COMPUTE)
    run_stage(stage, LOOP, StageFolder(tmp_path), Silence())
    for line in lines(tmp_path):
        assert np.isfinite(list(line.values())).all()


# --- cross-entropy -----------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_cross_entropy_step_is_its_formula(smoothing: float) -> None:
    backbone = small_backbone()
    stage = cross_entropy(backbone, label_smoothing=smoothing)
    stage.begin_epoch()
    batch = next(stage.batches(0))
    loss, scalars = stage.step(batch)
    log_p = stage.modules["head"](backbone(batch.views_BVCHW[:, 0])).log_softmax(1)
    hit = log_p[torch.arange(4), batch.labels_B]
    by_hand = -((1 - smoothing) * hit + smoothing * log_p.mean(1)).mean()
    torch.testing.assert_close(loss, by_hand)
    expected = (log_p.argmax(1) == batch.labels_B).float().mean().item()
    assert scalars == {"train_accuracy": expected}


# --- resuming ----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [contrastive, cross_entropy, head])
@pytest.mark.parametrize("network", ["small", "dropping", "pico"])
def test_a_resumed_stage_ends_in_the_same_weights(make: Any, network: str, tmp_path: Path) -> None:
    def stage() -> Any:
        if network == "pico":
            return make(load_backbone("pico"))
        dropping = {"proj_drop_rate": 0.2, "drop_path_rate": 0.3}
        return make(small_backbone(**(dropping if network == "dropping" else {})))

    whole, first, second = stage(), stage(), stage()
    run_stage(whole, LOOP, StageFolder(tmp_path / "whole"), Silence())
    with pytest.raises(Killed):
        run_stage(first, LOOP, StageFolder(tmp_path / "cut"), KillAfter(1))
    torch.manual_seed(77)
    run_stage(second, LOOP, StageFolder(tmp_path / "cut"), Silence())
    assert equal(weights(*whole.modules.values()), weights(*second.modules.values()))
    assert not equal(weights(*whole.modules.values()), weights(*first.modules.values()))
    one, other = lines(tmp_path / "whole"), lines(tmp_path / "cut")
    for line in (*one, *other):
        del line["step_seconds"], line["data_seconds"]
    assert one == other
    assert [line["epoch"] for line in other] == [0, 1, 2, 3]


# --- the head by SGD ---------------------------------------------------------------------------


@pytest.mark.parametrize("features", ["cached", "live"])
def test_the_backbone_stays_as_it_is_and_drops_nothing(features: str, tmp_path: Path) -> None:
    backbone = small_backbone(proj_drop_rate=0.5, drop_path_rate=0.5)
    before = weights(backbone)
    backbone.train()  # as a stage before it leaves it
    stage = head(backbone, features)
    run_stage(stage, LoopPlan(3, "sgd", 0.1, 0.0, 0.0, 0), StageFolder(tmp_path), Silence())
    assert not backbone.training
    assert not any(module.training for module in backbone.modules())
    assert equal(before, weights(backbone))
    assert all(p.grad is None for p in backbone.parameters())
    assert stage.modules.keys() == {"head"}


def test_cached_batches_are_the_features_of_the_images_in_the_epochs_order() -> None:
    backbone = small_backbone()
    stage = head(backbone)
    train = images()
    features = torch.from_numpy(encode_images(train.images, backbone, COMPUTE))
    orders = []
    for epoch in range(2):
        rows = []
        for features_BD, labels_B, _ in stage.batches(epoch):
            distance = torch.cdist(features_BD, features)
            rows += distance.argmin(1).tolist()
            assert distance.min(1).values.max() == 0
            assert labels_B.tolist() == train.labels_N[rows[-len(labels_B) :]].tolist()
        assert sorted(rows) == list(range(10))
        orders.append(rows)
    assert orders[0] != orders[1]


def test_live_features_are_of_fresh_views_every_epoch() -> None:
    stage = head(small_backbone(), "live", batch_size=10)
    (one, labels, _), (other, other_labels, _) = (next(iter(stage.batches(e))) for e in range(2))
    again = next(iter(stage.batches(0))).features_BD
    assert torch.equal(one, again)
    assert one.shape == other.shape == (10, 12)
    assert not one.requires_grad
    order, other_order = labels.argsort(stable=True), other_labels.argsort(stable=True)
    assert not torch.equal(one[order], other[other_order])


def test_the_head_learns_what_is_easy(tmp_path: Path) -> None:
    stage = head(small_backbone())
    run_stage(stage, LoopPlan(20, "sgd", 0.1, 0.0, 0.0, 0), StageFolder(tmp_path), Silence())
    last = lines(tmp_path)[-1]
    assert last["validation_accuracy"] == last["train_accuracy"] == 1.0
    assert last["validation_loss"] < lines(tmp_path)[0]["validation_loss"]
