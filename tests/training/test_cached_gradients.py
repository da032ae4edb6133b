"""Gradient caching: the gradient of the whole batch, with the activations of one chunk."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from small_material import COMPUTE, images, plan, small_backbone
from torch import Tensor, nn

from lacvit.config import ContrastiveSettings
from lacvit.devices import autocast
from lacvit.errors import InputError
from lacvit.losses import supcon_loss
from lacvit.training.cached_gradients import encode_in_chunks, refuse_batch_norm
from lacvit.training.contrastive import ContrastiveStage

DROPPING = {"proj_drop_rate": 0.2, "attn_drop_rate": 0.1, "drop_path_rate": 0.3}
LABELS = torch.arange(14) % 3
Encoder = Callable[[Tensor], tuple[Tensor, Tensor]]


def encoder(precision: str, **arguments: Any) -> tuple[nn.Module, Encoder]:
    """A small vision transformer in training mode, with a projection."""
    backbone = small_backbone(**arguments)
    net = nn.ModuleList([backbone, nn.Linear(backbone.dim, 6)]).train()
    if precision == "fp64":
        net.double()

    def encode(views: Tensor) -> tuple[Tensor, Tensor]:
        with autocast(views.device, "bf16" if precision == "bf16" else "fp32"):
            features = net[0](views)
            return net[1](features), features.detach()

    return net, encode


def views(precision: str, n: int = 14) -> Tensor:
    draw = torch.Generator().manual_seed(5)
    pixels = torch.randn(n, 3, 16, 16, generator=draw, dtype=torch.float64)
    return pixels if precision == "fp64" else pixels.float()


def value_and_gradients(
    net: nn.Module, encode: Encoder, seed: int, precision: str
) -> tuple[float, list[Tensor], Tensor]:
    """One step, and the random number that comes after it."""
    net.zero_grad()
    torch.manual_seed(seed)
    projections, features = encode(views(precision))
    assert not features.requires_grad or features.grad_fn is not None
    loss = supcon_loss(projections, LABELS)
    loss.backward()
    gradients = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    return loss.item(), gradients, torch.rand(1)


# Measured on a processor, over 6 seeds in chunks of 4: equal bit for bit. The bars leave room for
# sums in another order, a few roundings of each precision, and far less than a dropped entry.
BARS = {"fp64": 1e-14, "fp32": 2e-6, "bf16": 2e-2}


def assert_same_step(one: Any, other: Any, bar: float) -> None:
    assert one[0] == pytest.approx(other[0], rel=bar)
    assert torch.equal(one[2], other[2]), "the random state after the step is another"
    for a, b in zip(one[1], other[1], strict=True):
        assert (a - b).abs().max() <= bar * max(g.abs().max() for g in one[1])


@pytest.mark.parametrize("precision", list(BARS))
@pytest.mark.parametrize("rows", [4, 9, 50])
def test_it_equals_one_pass_over_the_same_chunks_that_keeps_its_graph(
    rows: int, precision: str
) -> None:
    net, encode = encoder(precision, **DROPPING)

    def keeping(x: Tensor) -> tuple[Tensor, Tensor]:
        parts = [encode(part) for part in x.split(rows)]
        return torch.cat([z for z, _ in parts]), torch.cat([f for _, f in parts])

    def caching(x: Tensor) -> tuple[Tensor, Tensor]:
        projections, features = encode_in_chunks(encode, x, rows)
        return projections, features

    kept = value_and_gradients(net, keeping, 1, precision)
    cached = value_and_gradients(net, caching, 1, precision)
    assert_same_step(kept, cached, BARS[precision])
    another = value_and_gradients(net, caching, 2, precision)
    assert another[0] != cached[0], "nothing was dropped: the test would see no random state"


@pytest.mark.parametrize("rows", [1, 3, 4, 13])
def test_without_dropout_chunks_change_nothing(rows: int) -> None:
    net, encode = encoder("fp64")
    whole = value_and_gradients(net, encode, 1, "fp64")
    cached = value_and_gradients(net, lambda x: encode_in_chunks(encode, x, rows), 1, "fp64")  # type: ignore[arg-type,return-value]
    assert_same_step(whole, cached, 1e-13)


def test_gradients_add_up_as_they_do_without_it() -> None:
    net, encode = encoder("fp64")
    _, once, _ = value_and_gradients(net, encode, 1, "fp64")
    for _ in range(2):
        projections, _ = encode_in_chunks(encode, views("fp64"), 5)
        supcon_loss(projections, LABELS).backward()
    for parameter, gradient in zip(net.parameters(), once, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, 3 * gradient)


class Live:
    """Bytes that autograd holds for a backward pass, and the most that it ever held."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def pack(self, tensor: Tensor) -> "Held":
        return Held(self, tensor)


class Held:
    def __init__(self, live: Live, tensor: Tensor) -> None:
        self.live, self.tensor = live, tensor
        live.now += tensor.nbytes
        live.most = max(live.most, live.now)

    def __del__(self) -> None:
        self.live.now -= self.tensor.nbytes


def most_held(n: int, rows: int | None) -> int:
    """Peak bytes of a step over ``n`` views, less the views and projections themselves."""
    _, encode = encoder("fp32")
    x, live = views("fp32", n), Live()
    with torch.autograd.graph.saved_tensors_hooks(live.pack, lambda held: held.tensor):
        projections, _ = encode(x) if rows is None else encode_in_chunks(encode, x, rows)
        # A loss that keeps nothing but the projections.
        (projections**2).sum().backward()
    return live.most - x.nbytes - projections.nbytes


def test_what_is_held_does_not_grow_with_the_batch() -> None:
    assert most_held(64, 8) < 1.05 * most_held(16, 8)
    assert most_held(64, None) > 4 * most_held(64, 8)


@pytest.mark.parametrize("micro_batch", [1, 3, 4, 100])
def test_the_stage_takes_images_a_chunk_not_views(
    micro_batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = {}
    for name, micro in (("whole", None), ("chunks", micro_batch)):
        backbone = small_backbone().double()
        torch.manual_seed(3)
        stage = ContrastiveStage(
            backbone,
            images(),
            images(6, seed=1),
            ContrastiveSettings(projection_dim=8, lr=1e-3, micro_batch=micro),
            plan(backbone, views=2),
            COMPUTE,
        )
        stage.modules["projection"].double()
        sizes: list[int] = []
        backbone.register_forward_pre_hook(lambda _, x, sizes=sizes: sizes.append(len(x[0])))
        stage.begin_epoch()
        batch = next(stage.batches(0))
        batch = replace(batch, views_BVCHW=batch.views_BVCHW.double())
        loss, scalars = stage.step(batch)
        loss.backward()
        gradients = [p.grad for m in stage.modules.values() for p in m.parameters()]
        steps[name] = (loss.item(), scalars, gradients, sizes)
    whole, chunks = steps["whole"], steps["chunks"]
    assert chunks[0] == pytest.approx(whole[0], rel=1e-14)
    assert chunks[1] == whole[1]
    for one, other in zip(whole[2], chunks[2], strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
    assert whole[3] == [8]
    ends = [min(micro_batch, 4 - start) * 2 for start in range(0, 4, micro_batch)]
    assert chunks[3] == ends + ends[::-1]  # forward, then again as backward goes through them


def test_batch_normalisation_is_refused() -> None:
    refuse_batch_norm(small_backbone())
    net = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.BatchNorm1d(3)))
    with pytest.raises(InputError) as refused:
        refuse_batch_norm(net)
    assert str(refused.value).startswith(
        "1.0 is batch normalisation, which sees each chunk of a batch for the whole. Leave "
    )


def test_autograd_grad_gives_no_gradient_in_silence() -> None:
    net, encode = encoder("fp32")
    projections, _ = encode_in_chunks(encode, views("fp32"), 4)
    with pytest.raises(RuntimeError, match="not have been used in the graph"):
        torch.autograd.grad(projections.sum(), list(net.parameters()))
