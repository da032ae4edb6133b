"""Random cases of the loss, and the bars that its errors must stay under.

The bars are derived, not chosen. With eps the unit roundoff of the arithmetic and unit rows in D
dimensions, a cosine carries an error of about ``c eps`` with ``c = sqrt(D) + 4`` (a dot product of
D terms, two normalisations), a logit ``c eps / t``. So:

* the value, a mean of ``logsumexp - mean``, is off by at most ``2 c eps / t``, and by ``eps`` times
  the largest intermediate, ``1 / t + ln N``;
* a softmax entry is off by ``2 c eps / t`` of itself. The entries of all anchors sum to A and each
  is used twice, the positives' too: the rows of dL/dz, each with its factor 1 / (A t), are off by
  at most ``4 (2 c / t + c) eps / t`` in all. Normalisation divides that by the rows' lengths.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

from lacvit.losses import supcon_loss

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


def value_bar(problem: Problem, eps: float) -> float:
    """What rounding alone may do to the value; see the head of this file."""
    n, d = problem.embeddings.shape
    c = math.sqrt(d) + 4
    return eps * ((2 * c + 1) / problem.temperature + math.log(max(n, 1)))


def gradient_bar(problem: Problem, eps: float) -> float:
    """What rounding alone may do to the gradient (Frobenius norm); see the head of this file."""
    n, d = problem.embeddings.shape
    c, t = math.sqrt(d) + 4, problem.temperature
    shortest = float(problem.embeddings.double().norm(dim=1).min()) if n else 1.0
    return eps * 4 * (2 * c / t + c) / t / shortest
