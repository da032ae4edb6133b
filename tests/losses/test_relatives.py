"""SupCon's relatives against their own definitions in float64, and against known values."""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
import relative_definitions as definitions
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from supcon_problems import Problem, supcon_problems, value_bar
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from lacvit.errors import InputError
from lacvit.losses import LossDetails, row_blocks, supcon_loss
from lacvit.losses.npair import find_pairs, npair_loss
from lacvit.losses.simclr import ntxent_loss
from lacvit.losses.sincere import sincere_loss

EPS = {d: torch.finfo(d).eps for d in (torch.bfloat16, torch.float16, torch.float32, torch.float64)}

# Name: ours, the definition, and beta: how far weights may stretch an error of a logit.
RELATIVES: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor], float]] = {
    "sincere": (sincere_loss, definitions.sincere, 0),
    "npair": (npair_loss, definitions.npair, 0),
    "simclr": (ntxent_loss, definitions.nt_xent, 0),
    **{
        f"hard-{beta}": (
            partial(supcon_loss, negative_weighting=beta),
            partial(definitions.hard_negatives, beta=beta),
            beta,
        )
        for beta in (0.5, 2)
    },
}
every_relative = pytest.mark.parametrize("name", RELATIVES)
in_blocks = pytest.mark.parametrize(
    "name", [name for name in RELATIVES if name not in ("simclr", "hard-2")]
)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_blocks, "BLOCK", 20)


def batch(n: int = 12, d: int = 6, n_classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return z, torch.randint(n_classes, (n,), generator=generator)


def simplex(labels: Tensor) -> Tensor:
    """Every class one point, all classes at the same angle."""
    classes, index = labels.unique(return_inverse=True)
    corners = torch.eye(len(classes), dtype=torch.float64)
    return (corners - corners.mean(dim=0))[index]


def by_definition(name: str, problem: Problem) -> tuple[Tensor, Tensor]:
    leaf = problem.embeddings.detach().double().requires_grad_()
    z = functional.normalize(leaf, dim=1) if problem.normalize else leaf
    value = RELATIVES[name][1](z, problem.labels, problem.temperature)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


@every_relative
@settings(max_examples=30)
@given(problem=supcon_problems())
def test_value_and_gradient_are_the_definitions(name: str, problem: Problem) -> None:
    """To what rounding alone may do.

    As in supcon_problems, with the weights' own: a logit counts 1 + 2 beta times. The gradient with
    respect to the logits has an absolute sum of at most 2 + 2 beta, each of which reaches two rows
    with the relative error of its logits, its sums and its factors.
    """
    ours, _, beta = RELATIVES[name]
    dtype = problem.embeddings.dtype
    leaf = problem.embeddings.detach().clone().requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_blocks, "BLOCK", problem.tile * 10)
        value = ours(
            leaf, problem.labels, temperature=problem.temperature, normalize=problem.normalize
        )
        value.backward()
    assert leaf.grad is not None
    truth, truth_gradient = by_definition(name, problem)
    arithmetic = torch.promote_types(dtype, torch.float32)
    eps = EPS[arithmetic] + EPS[torch.float64]  # the truth is rounded too
    stretch = 1 + 2 * beta
    assert value.dtype == arithmetic
    assert abs(value.double() - truth) <= stretch * value_bar(problem, eps)

    n, d = problem.embeddings.shape
    c = math.sqrt(d) + 4
    relative = eps * (2 * c * stretch / problem.temperature + math.sqrt(n) + c)
    length = problem.embeddings.double().norm(dim=1, keepdim=True)
    error = (leaf.grad.double() - truth_gradient) * length  # of the unit rows
    # It comes back in the input's dtype, where small numbers have a smallest step.
    step = torch.finfo(dtype).tiny * EPS[dtype]
    rounding = EPS[dtype] * (truth_gradient * length).norm() + step * math.sqrt(d) * length.norm()
    assert error.norm() <= relative * (4 + 4 * beta) / problem.temperature + rounding


@in_blocks
def test_gradients_of_both_orders(name: str, small_blocks: None) -> None:
    z, labels = batch(n=7, d=2, n_classes=3)
    labels[0] = 99  # a row without a positive
    z.requires_grad_()

    def loss(z: Tensor) -> Tensor:
        return RELATIVES[name][0](z, labels, temperature=0.3)

    assert torch.autograd.gradcheck(loss, z)
    assert torch.autograd.gradgradcheck(loss, z)


@every_relative
def test_relabelling_and_rotation_change_nothing(name: str, small_blocks: None) -> None:
    loss = RELATIVES[name][0]
    z, labels = batch(n=15, d=5)
    rotation = torch.linalg.qr(batch(n=5, d=5, seed=2)[0]).Q
    renamed = torch.tensor([2**62, -7, 0, -(2**63)])[labels]
    for changed in (loss(z, renamed), loss(z @ rotation, labels), loss(3 * z, labels)):
        torch.testing.assert_close(changed, loss(z, labels), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["sincere", "hard-0.5"])
def test_the_order_of_rows_changes_nothing(name: str, small_blocks: None) -> None:
    loss = RELATIVES[name][0]
    z, labels = batch(n=15, d=5)
    order = torch.randperm(15, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(loss(z[order], labels[order]), loss(z, labels), rtol=1e-12, atol=0)


@every_relative
@pytest.mark.parametrize("labels", [[], [5], [5, -5, 0]])
def test_without_a_positive_the_loss_is_zero_and_attached(name: str, labels: list[int]) -> None:
    z = torch.ones(len(labels), 3, requires_grad=True)
    loss = RELATIVES[name][0](z, torch.tensor(labels, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0
    assert z.grad is not None
    assert torch.equal(z.grad, torch.zeros_like(z))


@every_relative
@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_autocast_changes_no_bit(
    name: str, dtype: torch.dtype, requires_grad: bool, small_blocks: None
) -> None:
    z, labels = batch(n=16, d=8)
    z = z.to(dtype).requires_grad_(requires_grad)
    expected = RELATIVES[name][0](z, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = RELATIVES[name][0](z, labels)
    assert loss.dtype == torch.promote_types(dtype, torch.float32)
    assert loss.requires_grad is requires_grad
    assert torch.equal(loss, expected)


@every_relative
@pytest.mark.parametrize("create_graph", [False, True])
def test_backward_inside_autocast_stays_exact(
    name: str, create_graph: bool, small_blocks: None
) -> None:
    z, labels = batch(n=16, d=8)
    z = z.float().requires_grad_()
    (expected,) = torch.autograd.grad(RELATIVES[name][0](z, labels), z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = RELATIVES[name][0](z, labels)
        (gradient,) = torch.autograd.grad(loss, z, create_graph=create_graph)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-6)  # in bfloat16: 1e-2


@pytest.mark.filterwarnings("default")  # the compiler's own
@every_relative
def test_a_compiled_caller_gets_the_same_loss(name: str, small_blocks: None) -> None:
    z, labels = batch(n=16, d=8)
    z = z.float().requires_grad_()

    def step(z: Tensor) -> Tensor:
        return 2 * RELATIVES[name][0](z * 3, labels)

    loss = torch.compile(step, backend="aot_eager")(z)
    assert torch.equal(loss, step(z))
    assert torch.equal(torch.autograd.grad(loss, z)[0], torch.autograd.grad(step(z), z)[0])


@in_blocks
def test_no_tensor_is_of_the_matrixs_size(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Largest(TorchFunctionMode):
        numbers = 0

        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            result = func(*args, **(kwargs or {}))
            if isinstance(result, Tensor):
                self.numbers = max(self.numbers, result.numel())
            return result

    monkeypatch.setattr(row_blocks, "BLOCK", 4096)
    z, labels = batch(n=500, d=8)
    z.requires_grad_()
    with Largest() as seen:
        RELATIVES[name][0](z, labels).backward()
    assert 3500 < seen.numbers <= 4096
    assert z.grad is not None
    assert z.grad.abs().sum() > 0


# --- known values ------------------------------------------------------------------------------


def test_sincere_comes_to_zero_at_collapse_and_supcon_does_not() -> None:
    labels = torch.arange(10).repeat_interleave(20)
    collapsed = simplex(labels)
    by_hand = math.log(1 + 180 * math.exp(-10 / 9 / 0.1))
    assert by_hand == pytest.approx(0.002687, abs=5e-7)
    assert sincere_loss(collapsed, labels).item() == pytest.approx(by_hand, rel=1e-10)
    assert supcon_loss(collapsed, labels).item() == pytest.approx(math.log(19), abs=2e-4)


def test_sincere_is_supcon_where_each_row_has_one_positive() -> None:
    z, _ = batch(n=14)
    labels = torch.arange(7).repeat(2)
    torch.testing.assert_close(sincere_loss(z, labels), supcon_loss(z, labels))


@pytest.mark.parametrize("loss", [sincere_loss, npair_loss])
def test_one_class_has_nothing_to_be_told_from(loss: Callable[..., Tensor]) -> None:
    z, _ = batch()
    z.requires_grad_()
    value = loss(z, torch.zeros(12, dtype=torch.int64))
    value.backward()
    assert value.item() == 0
    assert z.grad is not None
    assert torch.equal(z.grad, torch.zeros_like(z))


def test_one_class_of_hard_negatives_is_supcon() -> None:
    z, _ = batch()
    labels = torch.zeros(12, dtype=torch.int64)
    torch.testing.assert_close(supcon_loss(z, labels, negative_weighting=1), supcon_loss(z, labels))


def test_hard_negatives_by_hand() -> None:
    """Positives at cosine 1, negatives at 0 and -1, t = 1, beta = 1.

    Weights 2 e^0 / (e^0 + e^-1) and 2 e^-1 / (e^0 + e^-1); -log [e / (e + 1.46212 + 0.19788)].
    """
    z = torch.tensor([[1.0, 0], [1, 0], [0, 1], [-1, 0]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 2])
    loss = supcon_loss(z, labels, negative_weighting=1, temperature=1)
    assert loss.item() == pytest.approx(math.log(math.e + 1.46212 + 0.19788) - 1, abs=1e-5)
    assert loss.item() == pytest.approx(0.47666, abs=1e-5)


@pytest.mark.parametrize("temperature", [0.005, 0.1, 10])
@pytest.mark.parametrize("n_classes", [1, 4, 30])
def test_weighting_by_nearly_zero_is_supcon(temperature: float, n_classes: int) -> None:
    """Two ways to one value: 0 is SupCon's own, and 1e-12 goes through the weights."""
    z, labels = batch(n=20, n_classes=n_classes)
    expected = supcon_loss(z, labels, temperature=temperature)
    assert torch.equal(
        supcon_loss(z, labels, temperature=temperature, negative_weighting=0), expected
    )
    loss = supcon_loss(z, labels, temperature=temperature, negative_weighting=1e-12)
    torch.testing.assert_close(loss, expected, rtol=1e-8, atol=1e-8)


def test_details_of_a_weighted_loss() -> None:
    z, _ = batch(n=5)
    labels = torch.tensor([0, 0, 1, 1, 2])
    _, details = supcon_loss(z, labels, negative_weighting=0.5, return_details=True)
    assert details == LossDetails("weighted", "negative_weighting is 0.5", anchors=4, left_out=1)


@given(seed=st.integers(0, 2**31), n_classes=st.integers(1, 6))
@settings(max_examples=25)
def test_weighting_never_lowers_the_loss(seed: int, n_classes: int) -> None:
    z, labels = batch(n=15, n_classes=n_classes, seed=seed)
    losses = [supcon_loss(z, labels, negative_weighting=beta).item() for beta in (0, 0.5, 1, 4)]
    assert all(low <= high + 1e-9 for low, high in pairwise(losses))


def test_equally_near_negatives_make_weights_of_one() -> None:
    labels = torch.arange(10).repeat_interleave(4)
    collapsed = simplex(labels)
    torch.testing.assert_close(
        supcon_loss(collapsed, labels, negative_weighting=3), supcon_loss(collapsed, labels)
    )


def test_npair_by_hand() -> None:
    """Logits [[23, 15, 17], [51, 33, 35], [79, 51, 53]]: the example in TensorFlow's docs."""
    anchors = torch.tensor([[1.0, 2], [3, 4], [5, 6]], dtype=torch.float64)
    positives = torch.tensor([[5.0, 9], [3, 6], [1, 8]], dtype=torch.float64)
    loss = npair_loss(
        torch.cat([anchors, positives]),
        torch.tensor([4, -1, 7] * 2),
        temperature=1,
        normalize=False,
    )
    by_hand = [
        math.log(1 + math.exp(15 - 23) + math.exp(17 - 23)),
        math.log(1 + math.exp(51 - 33) + math.exp(35 - 33)),
        math.log(1 + math.exp(79 - 53) + math.exp(51 - 53)),
    ]
    assert loss.item() == pytest.approx(sum(by_hand) / 3, rel=1e-12)
    assert loss.item() == pytest.approx(14.66760, abs=1e-5)


@pytest.mark.parametrize("n_classes", [2, 4, 9])
def test_npair_of_orthogonal_classes(n_classes: int) -> None:
    labels = torch.arange(n_classes).repeat(2)
    loss = npair_loss(torch.eye(n_classes).double()[labels], labels, temperature=0.5)
    assert loss.item() == pytest.approx(math.log(1 + (n_classes - 1) * math.exp(-2)), rel=1e-12)


@pytest.mark.parametrize(
    ("labels", "pairs"),
    [
        ([], []),
        ([3], []),
        ([3, 3], [(0, 1)]),
        ([3, 3, 3], [(0, 1)]),
        ([3, 3, 3, 3], [(0, 2), (1, 3)]),  # two views each of two images: pairs of two images
        ([3, 3, 3, 3, 3, 3], [(0, 3), (1, 4), (2, 5)]),
        ([3, 3, -1, -1, 3, 3, 8], [(2, 3), (0, 4), (1, 5)]),
    ],
)
def test_pairs(labels: list[int], pairs: list[tuple[int, int]]) -> None:
    anchors, positives = find_pairs(torch.tensor(labels, dtype=torch.int64))
    assert list(zip(anchors.tolist(), positives.tolist(), strict=True)) == pairs


@pytest.mark.parametrize("views", [2, 3, 5])
@pytest.mark.parametrize("images", [2, 3, 4])
def test_a_pair_is_two_images_where_the_class_has_two(images: int, views: int) -> None:
    anchors, positives = find_pairs(torch.zeros(images * views, dtype=torch.int64))
    assert len(anchors) == images * views // 2
    assert not (anchors // views == positives // views).any()


def test_ntxent_of_equal_rows_is_the_number_of_others() -> None:
    loss = ntxent_loss(torch.ones(10, 4), torch.arange(5).repeat_interleave(2), temperature=0.07)
    assert loss.item() == pytest.approx(math.log(9), rel=1e-6)


# --- faults ------------------------------------------------------------------------------------


@every_relative
def test_faults_are_supcons(name: str) -> None:
    loss = RELATIVES[name][0]
    labels = torch.tensor([0, 0, 1])
    with pytest.raises(InputError, match=r"expected \(N, D\), one row a view"):
        loss(torch.ones(3), labels)
    with pytest.raises(InputError, match="temperature is 0; it must be a number above 0"):
        loss(torch.ones(3, 2), labels, temperature=0)
    with pytest.raises(InputError, match="embedding 1 of 3 is all zeros and has no direction"):
        loss(torch.tensor([[1.0], [0], [1]]), labels)


@pytest.mark.parametrize("beta", [-1, math.nan, math.inf])
def test_a_weighting_is_a_number_from_zero_up(beta: float) -> None:
    with pytest.raises(InputError, match=r"negative_weighting is .*; it must be a number from 0"):
        supcon_loss(torch.ones(2, 2), torch.zeros(2).int(), negative_weighting=beta)


def test_weighted_negatives_have_one_implementation() -> None:
    with pytest.raises(InputError, match="impl is 'tiled' and negative_weighting 1: weighted"):
        supcon_loss(torch.ones(2, 2), torch.zeros(2).int(), impl="tiled", negative_weighting=1)
