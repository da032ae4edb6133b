"""What somebody will pass one day: numbers at the edge of their dtype, odd objects, odd callers."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lacvit.errors import InputError
from lacvit.losses import npair_loss, row_blocks, sincere_loss, supcon_loss, tiled

LOSSES: dict[str, Callable[..., Tensor]] = {
    "reference": partial(supcon_loss, impl="reference"),
    "tiled": partial(supcon_loss, impl="tiled"),
    "sincere": sincere_loss,
    "npair": npair_loss,
    "hard": partial(supcon_loss, negative_weighting=1.0),
}
every_loss = pytest.mark.parametrize("name", LOSSES)
LABELS = torch.arange(24) % 4


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiled, "TILE", 8)
    monkeypatch.setattr(row_blocks, "BLOCK", 64)


def rows(dtype: torch.dtype = torch.float32) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(24, 5, generator=draw, dtype=torch.float64).to(dtype)


def unit(dtype: torch.dtype) -> Tensor:
    return torch.nn.functional.normalize(rows(torch.float64), dim=1).to(dtype)


def value_and_gradient(loss: Callable[..., Tensor], x: Tensor, **how: object) -> tuple[Tensor, ...]:
    leaf = x.detach().clone().requires_grad_()
    value = loss(leaf, LABELS, **how)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


# --- numbers -----------------------------------------------------------------------------------


@every_loss
@pytest.mark.parametrize(
    ("dtype", "temperature"),
    [
        *((torch.float32, t) for t in (1e-5, 1e-7, 1e-8, 1e-20, 4e-27)),
        *((torch.float64, t) for t in (1e-16, 1e-17, 1e-290)),
    ],
)
def test_a_share_stays_a_share_where_logits_have_no_digits_left(
    name: str, dtype: torch.dtype, temperature: float
) -> None:
    """``t dL/dz_i`` is a sum of shares of unit rows: at most 4 over all rows, at any t."""
    z = unit(dtype)
    value, gradient = value_and_gradient(LOSSES[name], z, temperature=temperature)
    truth = LOSSES[name](z.double(), LABELS, temperature=temperature)
    torch.testing.assert_close(value.double(), truth, rtol=1e-6, atol=0)
    assert 0.1 < (gradient * temperature).norm(dim=1).sum() <= 4


@every_loss
@pytest.mark.parametrize(
    ("dtype", "temperature"),
    [*((torch.float32, t) for t in (1e-27, 1e-38, 1e-45)), (torch.float64, 5e-324)],
)
def test_a_temperature_whose_logits_overflow_is_refused(
    name: str, dtype: torch.dtype, temperature: float
) -> None:
    message = rf"temperature is {temperature}, where logits overflow in {dtype}; it must be above "
    with pytest.raises(InputError, match=message):
        LOSSES[name](rows(dtype), LABELS, temperature=temperature)


@every_loss
def test_raw_rows_are_long_or_refused(name: str) -> None:
    for length, expected in ((1e12, None), (1e14, "is too long"), (1e30, "is too long")):
        if expected is None:
            found = value_and_gradient(LOSSES[name], unit(torch.float32) * length, normalize=False)
            assert all(x.isfinite().all() for x in found)
            assert (found[1] * 0.1 / length).norm(dim=1).sum() <= 4
        else:
            with pytest.raises(InputError, match=expected):
                LOSSES[name](unit(torch.float32) * length, LABELS, normalize=False)


@every_loss
@pytest.mark.parametrize(("dtype", "scale"), [(torch.float32, 1e-42), (torch.float16, 1e-7)])
def test_rows_of_subnormal_numbers_give_no_nan(name: str, dtype: torch.dtype, scale: float) -> None:
    """Their gradient is divided by their length: it may be infinite, and is never NaN."""
    x = (rows(torch.float64) * scale).to(dtype)
    x = x[(x != 0).any(dim=1)]
    leaf = x.clone().requires_grad_()
    value = LOSSES[name](leaf, LABELS[: len(x)])
    value.backward()
    truth = LOSSES[name](x.double(), LABELS[: len(x)])
    torch.testing.assert_close(value.double(), truth, rtol=1e-6, atol=0)
    assert leaf.grad is not None
    assert not leaf.grad.isnan().any()


def test_rows_of_half_precision_may_be_as_long_as_it_allows() -> None:
    x = (rows() * 2e4).clamp(-65504, 65504).half()
    value, gradient = value_and_gradient(supcon_loss, x)
    truth, _ = value_and_gradient(supcon_loss, x.double())
    torch.testing.assert_close(value.double(), truth, rtol=1e-6, atol=0)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("temperature", [0.005, 0.1])
@pytest.mark.parametrize("beta", [2, 100, 1000, 1e4])
def test_hard_negatives_keep_their_digits_at_any_weighting(beta: float, temperature: float) -> None:
    loss = partial(supcon_loss, negative_weighting=beta, temperature=temperature)
    z = unit(torch.float32)
    value, gradient = value_and_gradient(loss, z)
    truth, true_gradient = value_and_gradient(loss, z.double())
    torch.testing.assert_close(value.double(), truth, rtol=1e-6, atol=0)
    error = (gradient.double() - true_gradient).norm() / true_gradient.norm()
    # Of a logit, and of (1 + beta) p - beta p'.
    bar = 1e-6 / temperature * (1 + beta)
    assert bar < 0.5 or beta == 1e4  # a gradient of zeros would be off by 1
    assert error < bar


@pytest.mark.parametrize(
    ("labels", "temperature", "dtype"),
    [
        (torch.zeros_like(LABELS), 0.1, torch.float64),  # no negative
        (LABELS, 0.002, torch.float32),  # positives or negatives are as good as nothing
        (LABELS, 0.0005, torch.float64),
    ],
)
def test_second_derivatives_of_hard_negatives_are_numbers(
    labels: Tensor, temperature: float, dtype: torch.dtype
) -> None:
    x = rows(dtype).requires_grad_()
    loss = supcon_loss(x, labels, temperature=temperature, negative_weighting=0.5)
    (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
    (second,) = torch.autograd.grad((gradient * rows(dtype).flip(0)).sum(), x)
    assert second.isfinite().all()
    assert second.abs().max() > 0


@every_loss
@pytest.mark.parametrize(
    ("dtype", "temperature"), [(torch.float32, 1e-39), (torch.float64, 1e-310)]
)
@pytest.mark.parametrize("normalize", [False, True])
def test_a_temperature_without_room_for_logits_is_refused(
    name: str, dtype: torch.dtype, temperature: float, normalize: bool
) -> None:
    for n in (24, 0):
        with pytest.raises(InputError, match="where logits overflow in"):
            LOSSES[name](
                0 * rows(dtype)[:n], LABELS[:n], temperature=temperature, normalize=normalize
            )


def test_the_largest_weighting_counts_the_nearest_negative_alone() -> None:
    z = unit(torch.float64)
    loss = supcon_loss(z, LABELS, negative_weighting=1e4)
    terms = []
    for i in range(24):
        e = (z[i] @ z.T / 0.1).exp()
        positive = (LABELS[i] == LABELS) & (torch.arange(24) != i)
        negative = LABELS[i] != LABELS
        total = e[positive].sum() + negative.sum() * e[negative].max()
        terms.append(total.log() - e[positive].log().mean())
    torch.testing.assert_close(loss, torch.stack(terms).mean(), rtol=1e-6, atol=0)


# --- objects -----------------------------------------------------------------------------------


@every_loss
@pytest.mark.parametrize("temperature", ["0.1", None, [0.1], -1, -math.inf, 0.1 + 0j])
def test_a_temperature_is_a_number(name: str, temperature: object) -> None:
    with pytest.raises(InputError, match=r"temperature is .*; it must be a number above 0"):
        LOSSES[name](rows(), LABELS, temperature=temperature)


@every_loss
@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (rows().to(torch.float8_e4m3fn), LABELS, "float8_e4m3fn; expected a floating dtype of 16"),
        (rows().to(torch.complex64), LABELS, "complex64; expected a floating dtype of 16 bits"),
        (rows().to("meta"), LABELS, "embeddings are on the meta device; give a dense tensor that"),
        (rows(), LABELS.to("meta"), "labels are on the meta device; give a dense tensor that"),
        (rows().to_sparse(), LABELS, "embeddings are a tensor of torch.sparse_coo; give a dense"),
        (rows(), LABELS[:, None], r"labels have shape \(24, 1\) .* one label a row: \(24,\)"),
        (rows(), torch.tensor(1), r"labels have shape \(\) .* one label a row: \(24,\)"),
    ],
)
def test_tensors_that_no_loss_can_take(name: str, x: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LOSSES[name](x, labels)


@pytest.mark.parametrize("beta", ["1", None, 1e5, 1e39])
def test_a_weighting_is_a_number_up_to_a_limit(beta: Any) -> None:
    with pytest.raises(InputError, match=r"it must be a number from 0 up to 10000 \(0: SupCon; "):
        supcon_loss(rows(), LABELS, negative_weighting=beta)


@pytest.mark.parametrize("impl", [None, ["tiled"]])
def test_an_implementation_is_a_name(impl: Any) -> None:
    with pytest.raises(InputError, match=r"impl is .*; allowed: auto, reference, tiled, fused"):
        supcon_loss(rows(), LABELS, impl=impl)


# --- callers -----------------------------------------------------------------------------------


def deterministically(loss: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    torch.use_deterministic_algorithms(True)
    try:
        value = loss(x)
        value.backward()
    finally:
        torch.use_deterministic_algorithms(False)
    return value.detach()


def on_labels_of_inference(loss: Callable[..., Tensor], x: Tensor) -> Tensor:
    with torch.inference_mode():
        labels = LABELS + 0
    value = loss(x, labels)
    value.backward()
    return value.detach()


def anomalies(loss: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.autograd.detect_anomaly(check_nan=True):
        value = loss(x)
        value.backward()
    return value.detach()


def recomputed(loss: Callable[[Tensor], Tensor], x: Tensor, reentrant: bool) -> Tensor:
    value: Tensor = checkpoint(loss, x, use_reentrant=reentrant)
    value.backward()
    return value.detach()


@every_loss
@pytest.mark.parametrize(
    "call",
    [
        deterministically,
        on_labels_of_inference,
        pytest.param(anomalies, marks=pytest.mark.filterwarnings("ignore:Anomaly Detection")),
        partial(recomputed, reentrant=True),
        partial(recomputed, reentrant=False),
    ],
    ids=("deterministic", "inference", "anomalies", "reentrant", "recomputed"),
)
def test_however_it_is_called_the_gradient_is_the_same(
    name: str, call: Callable[..., Tensor]
) -> None:
    value, gradient = value_and_gradient(LOSSES[name], rows())
    leaf = rows().requires_grad_()
    found = call(lambda x, labels=LABELS: LOSSES[name](x, labels), leaf)
    assert torch.equal(found, value)
    assert leaf.grad is not None
    assert torch.equal(leaf.grad, gradient)


@every_loss
def test_strides_of_zero(name: str) -> None:
    """One column that stands for all, and one row: the gradients of equal rows add up to none."""
    column = rows()[:, :1] / 3
    _, truth = value_and_gradient(LOSSES[name], column.repeat(1, 5), normalize=False)
    leaf = column.clone().requires_grad_()
    LOSSES[name](leaf.expand(24, 5), LABELS, normalize=False).backward()
    torch.testing.assert_close(leaf.grad, truth.sum(dim=1, keepdim=True))
    assert truth.abs().max() > 1e-3
    row = rows(torch.float64)[:1].clone().requires_grad_()
    LOSSES[name](row.expand(24, 5), LABELS).backward()
    assert row.grad is not None
    assert row.grad.abs().max() < 1e-13


@every_loss
def test_without_a_gradient_the_value_is_the_same(name: str) -> None:
    expected, _ = value_and_gradient(LOSSES[name], rows())
    leaf = rows().requires_grad_()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            found = LOSSES[name](leaf, LABELS)
        assert not found.requires_grad
        assert torch.equal(found, expected)


@every_loss
def test_rows_that_change_before_backward_are_noticed(name: str) -> None:
    leaf = rows().requires_grad_()
    y = leaf * 1
    loss = LOSSES[name](y, LABELS)
    y.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@every_loss
def test_what_has_no_rule_under_function_transforms_is_refused(name: str) -> None:
    """By torch, whose message says which rule is missing; in no case a wrong number."""
    with pytest.raises(RuntimeError, match="setup_context"):
        torch.func.grad(lambda x: LOSSES[name](x, LABELS))(rows())
    with pytest.raises(RuntimeError, match="vmap"):
        torch.vmap(lambda x: LOSSES[name](x, LABELS))(torch.stack([rows(), rows()]))
