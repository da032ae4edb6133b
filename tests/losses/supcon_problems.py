"""Random cases of the loss, and the bars that its errors must stay under.

The bars are derived, not chosen. With eps the unit roundoff of the arithmetic and unit rows in D
dimensions, a cosine carries an error of about ``c eps`` with ``c = sqrt(D) + 4`` (a dot product of
D terms, two normalisations), a logit ``c eps / t``, a sum of N terms ``sqrt(N) eps`` of itself. So:

* the value, a mean of ``logsumexp - mean``, is off by at most ``2 c eps / t`` for its logits,
  ``sqrt(N) eps`` for its sums, and ``eps`` times the largest intermediate, ``1 / t + ln N``;
* an entry P_ia of the softmax is off by ``2 c eps / t + sqrt(N) eps`` of itself, every other factor
  of ``dL/dz_i = sum_a (P_ia + P_ai - Y_ia - Y_ai) z_a / (A t)`` by ``c eps`` (Y: 1 over the number
  of positives). With W the sum of the four without their signs, row i is off by at most
  ``(2 c / t + sqrt(N) + c) eps sum_a W_ia / (A t)``; normalisation divides that by the length.

Measured over 3,000 cases: the value comes to a third of its bar at most, the gradient to a tenth
(the errors of a row's pairs partly cancel), the dense form no less. The truth is rounded too:
the tests add its eps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from lacvit.losses import supcon_loss
from lacvit.losses.reference import dense_supcon

LABEL_DTYPES = [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool]
FLOAT_DTYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64]
TEMPERATURES = [0.005, 0.0137, 0.02, 0.05, 0.1, 0.5, 1.0, 10.0]


@dataclass(frozen=True)
class Problem:
    """Embeddings as somebody might pass them, labels, a temperature, and how tiles are cut."""

    embeddings: Tensor
    labels: Tensor
    temperature: float
    normalize: bool
    tile: int
    kept_bytes: int


@st.composite
def supcon_problems(draw: st.DrawFn) -> Problem:
    """Any N from 0, 1 to 4 views, any class sizes and label values, any dtype and layout."""
    n_images, n_views, d = (
        draw(st.integers(0, 16)),
        draw(st.integers(1, 4)),
        draw(st.integers(1, 12)),
    )
    label_dtype = draw(st.sampled_from(LABEL_DTYPES))
    values = st.booleans()
    if label_dtype != torch.bool:
        bounds = torch.iinfo(label_dtype)
        values = st.integers(bounds.min, bounds.max)
    classes = draw(st.lists(values, min_size=1, max_size=6))
    image_labels = draw(st.lists(st.sampled_from(classes), min_size=n_images, max_size=n_images))
    labels = torch.tensor(image_labels, dtype=label_dtype).repeat(n_views)

    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    centres = torch.randn(max(n_images, 1), d, generator=generator, dtype=torch.float64)
    distinct = draw(st.sampled_from([1, 2, max(n_images, 1)]))  # 1: all views of all images alike
    noise = draw(st.sampled_from([0.0, 1e-3, 1.0]))
    x = centres[torch.arange(n_images) % distinct].repeat(n_views, 1)
    x = x + noise * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    x = x / x.norm(dim=1, keepdim=True)
    normalize = draw(st.booleans())
    if normalize:
        x = x * 10.0 ** (4 * torch.rand(len(x), 1, generator=generator, dtype=torch.float64) - 2)
    return Problem(
        embeddings=draw(layouts(x.to(draw(st.sampled_from(FLOAT_DTYPES))))),
        labels=labels,
        temperature=draw(st.sampled_from(TEMPERATURES)),
        normalize=normalize,
        tile=draw(st.sampled_from([3, 7, 16, 512])),
        kept_bytes=draw(st.sampled_from([0, 100, 2**20])),
    )


@st.composite
def layouts(draw: st.DrawFn, x: Tensor) -> Tensor:
    """The same numbers, contiguous, transposed, or as every other column of something wider."""
    layout = draw(st.sampled_from(["contiguous", "transposed", "strided"]))
    if layout == "transposed":
        return x.T.contiguous().T
    if layout == "strided":
        return torch.stack([x, x + 1], dim=2).flatten(1)[:, ::2]
    return x


def value_and_gradient(problem: Problem, impl: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """In float64, of the problem's numbers after a cast to ``dtype``."""
    leaf = problem.embeddings.detach().to(dtype).requires_grad_()
    loss = supcon_loss(
        leaf,
        problem.labels,
        temperature=problem.temperature,
        normalize=problem.normalize,
        impl=impl,
    )
    loss.backward()
    assert leaf.grad is not None
    return loss.detach().double(), leaf.grad.double()


def dense_in(
    dtype: torch.dtype, x_ND: Tensor, labels_N: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Value and gradient of the dense form with every operation in ``dtype``; in float64."""
    x_ND = x_ND.detach().to(dtype, copy=True).requires_grad_()
    _, index_N, counts_K = labels_N.unique(return_inverse=True, return_counts=True)
    loss = dense_supcon(functional.normalize(x_ND, dim=1), index_N, counts_K, temperature)
    loss.backward()
    assert x_ND.grad is not None
    return loss.detach().double(), x_ND.grad.double()


def value_bar(problem: Problem, eps: float) -> float:
    """What rounding alone may do to the value; see the head of this file."""
    n, d = problem.embeddings.shape
    c = math.sqrt(d) + 4
    return eps * ((2 * c + 1) / problem.temperature + math.sqrt(n) + math.log(max(n, 1)))


def gradient_bar(problem: Problem, eps: float) -> float:
    """What rounding alone may do to the gradient (Frobenius norm); see the head of this file."""
    x_ND = problem.embeddings.double()
    n, d = x_ND.shape
    c, t = math.sqrt(d) + 4, problem.temperature
    labels = problem.labels.long()
    itself_NN = torch.eye(n, dtype=torch.bool)
    positive_NN = ((labels[:, None] == labels) & ~itself_NN).double()
    n_positives_N = positive_NN.sum(dim=1)
    is_anchor_N = n_positives_N > 0
    if not is_anchor_N.any():
        return 0.0
    length_N = x_ND.norm(dim=1)
    z_ND = x_ND / length_N[:, None]
    softmax_NN = (z_ND @ z_ND.T / t).masked_fill(itself_NN, -torch.inf).softmax(dim=1)
    pull_NN = positive_NN / n_positives_N.clamp(min=1)[:, None]
    weight_NN = softmax_NN * is_anchor_N[:, None] + pull_NN
    weight_N = (weight_NN + weight_NN.T).sum(dim=1) / (is_anchor_N.sum() * t)
    return float(eps * (2 * c / t + math.sqrt(n) + c) * (weight_N / length_N).norm())
