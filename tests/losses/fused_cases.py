"""What the Triton kernels must give; run by test_fused.py in a process of its own.

With TRITON_INTERPRET=1 in Triton's interpreter on the CPU, else on a GPU. A file of its own, since
the variable must be set before triton is imported, and holds for the process.
"""

import os
import sys

import pytest
import torch
from supcon_problems import Problem, dense_in, gradient_bar, value_and_gradient, value_bar
from torch.nn import functional

from lacvit.losses import supcon_loss

LOADED_UNASKED = "triton" in sys.modules  # before the kernels' file is imported

from lacvit.losses import fused  # noqa: E402
from lacvit.losses.fused import Cut, gradients, log_denominators  # noqa: E402
from lacvit.losses.linear_memory import Forces, Pairs  # noqa: E402

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
# Three tf32 products keep 21 bits of float32's 24; numpy, in the interpreter, all of them.
EPS = 2.0**-23 if INTERPRETED else 2.0**-20
on_a_gpu = pytest.mark.skipif(INTERPRETED, reason="needs a GPU")
SMALL, DEEP, WIDE = Cut(32, 16, 16), Cut(16, 32, 16), Cut(64, 64, 64)


@pytest.fixture(autouse=True)
def bfloat16_in_the_interpreter(monkeypatch):
    """It multiplies bfloat16's bits as integers; widen them first, as the product would."""
    if not INTERPRETED:
        return
    from triton.runtime import interpreter

    builder = interpreter.InterpreterBuilder
    multiply = builder.create_dot

    def widen(block):
        if block.dtype.scalar != fused.tl.bfloat16:
            return block
        bits = block.data.astype("uint32") << 16
        return interpreter.TensorHandle(bits.view("float32"), fused.tl.float32)

    def create_dot(self, a, b, *rest):
        return multiply(self, widen(a), widen(b), *rest)

    monkeypatch.setattr(builder, "create_dot", create_dot)


def batch(n, d, n_classes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z_ND = torch.randn(n, d, generator=generator)
    return z_ND.to(DEVICE), torch.randint(n_classes, (n,), generator=generator).to(DEVICE)


def test_triton_is_loaded_only_when_asked_for():
    assert not LOADED_UNASKED


@pytest.mark.parametrize(
    ("n", "d", "n_classes", "temperature", "cut"),
    [
        (40, 16, 4, 0.1, SMALL),
        (50, 40, 7, 0.005, DEEP),  # a depth of 16 is walked three times, the last half empty
        (33, 5, 30, 0.07, SMALL),  # most rows without a positive
        (130, 50, 60, 0.1, WIDE),
        (20, 3, 1, 10.0, SMALL),
        (2, 1, 1, 0.1, SMALL),
    ],
)
def test_matches_the_definition(n, d, n_classes, temperature, cut, monkeypatch):
    monkeypatch.setattr(fused, "cut_for", lambda d, operands: cut)
    problem = Problem(*batch(n, d, n_classes), temperature, True, 0, 0)
    truth, truth_gradient = value_and_gradient(problem, "reference", torch.float64)
    dense, dense_gradient = value_and_gradient(problem, "reference", torch.float32)
    value, gradient = value_and_gradient(problem, "fused", torch.float32)
    here = Problem(problem.embeddings.cpu(), problem.labels.cpu(), temperature, True, 0, 0)
    assert abs(value - truth) <= abs(dense - truth) + value_bar(here, EPS)
    error, dense_error = gradient - truth_gradient, dense_gradient - truth_gradient
    assert error.norm() <= dense_error.norm() + gradient_bar(here, EPS)


@pytest.mark.parametrize("temperature", [0.01, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_bfloat16_errs_less_than_the_dense_form_in_bfloat16(temperature, seed, monkeypatch):
    monkeypatch.setattr(fused, "cut_for", lambda d, operands: WIDE)
    x_ND, labels_N = batch(90, 48, 6, seed)
    x_ND = x_ND.bfloat16()
    truth, truth_gradient = dense_in(torch.float64, x_ND, labels_N, temperature)
    dense, dense_gradient = dense_in(torch.bfloat16, x_ND, labels_N, temperature)
    leaf_ND = x_ND.clone().requires_grad_()
    loss = supcon_loss(leaf_ND, labels_N, temperature=temperature, impl="fused")
    loss.backward()
    assert loss.dtype == torch.float32
    assert leaf_ND.grad.dtype == torch.bfloat16
    assert abs(loss.detach() - truth) <= abs(dense - truth)
    error = (leaf_ND.grad.double() - truth_gradient).norm()
    assert error <= (dense_gradient - truth_gradient).norm()
    assert error > 0


@pytest.mark.parametrize(("first", "rows"), [(7, 20), (44, 1), (30, 0)])
@pytest.mark.parametrize("temperature", [0.005, 0.5])
def test_a_process_s_block_of_rows(first, rows, temperature, monkeypatch):
    monkeypatch.setattr(fused, "cut_for", lambda d, operands: SMALL)
    z_ND, class_N = batch(45, 20, 4)
    z_ND = functional.normalize(z_ND, dim=1)
    wide_ND = z_ND.double()
    score_NN = (wide_ND @ wide_ND.T / temperature).fill_diagonal_(-torch.inf)
    log_denominator_N = score_NN.logsumexp(dim=1)
    own = slice(first, first + rows)
    pairs = Pairs(z_ND[own], z_ND, first, temperature, longest=1.0)
    found_R = log_denominators(pairs, None, operands=torch.float32)
    assert (found_R - log_denominator_N[own]).abs().le(16 * EPS / temperature).all()
    log_denominator_N[::5] = torch.inf  # rows that are no anchors
    weight_NN = (score_NN - log_denominator_N[:, None]).exp()
    weight_NN += (score_NN - log_denominator_N[None, :]).exp()
    pull_N = torch.tensor([0.3, 0.7, 0.1, 0.0], device=DEVICE)[class_N]
    weight_NN -= ((class_N[:, None] == class_N) * pull_N).fill_diagonal_(0.0)
    forces = Forces(log_denominator_N.float(), class_N, pull_N)
    sum_RD = gradients(pairs, forces, [], operands=torch.float32)
    error_RD = sum_RD - (weight_NN @ wide_ND)[own]
    assert error_RD.abs().le(16 * EPS / temperature).all()


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")  # log2(0), as intended
def test_a_row_that_meets_only_itself_has_an_empty_sum():
    z_ND = torch.ones(1, 3, device=DEVICE)
    pairs = Pairs(z_ND, z_ND, 0, 0.1, longest=3.0)
    found = log_denominators(pairs, None, operands=torch.float32)
    assert found.tolist() == [-torch.inf]


def test_a_second_derivative_is_the_definitions(monkeypatch):
    monkeypatch.setattr(fused, "cut_for", lambda d, operands: SMALL)
    x_ND, labels_N = batch(20, 6, 4)
    along_ND = batch(20, 6, 4, seed=1)[0]

    def twice(impl, dtype):
        leaf_ND = x_ND.to(dtype).requires_grad_()
        loss = supcon_loss(leaf_ND, labels_N, temperature=0.5, impl=impl)
        (gradient_ND,) = torch.autograd.grad(loss, leaf_ND, create_graph=True)
        return torch.autograd.grad((gradient_ND * along_ND).sum(), leaf_ND)[0].double()

    truth = twice("reference", torch.float64)
    torch.testing.assert_close(twice("fused", torch.float32), truth, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("temperature", [1e-7, 1e-20])
def test_a_share_stays_a_share_where_logits_have_no_digits_left(temperature, monkeypatch):
    """As in test_extremes.py."""
    monkeypatch.setattr(fused, "cut_for", lambda d, operands: SMALL)
    z_ND, labels_N = batch(40, 5, 4)
    leaf_ND = functional.normalize(z_ND, dim=1).requires_grad_()
    supcon_loss(leaf_ND, labels_N, temperature=temperature, impl="fused").backward()
    assert 0.1 < (leaf_ND.grad * temperature).norm(dim=1).sum() <= 4


@on_a_gpu
@pytest.mark.parametrize("d", [16, 64, 100, 128, 256, 768])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_at_its_own_tile_sizes(d, dtype):
    x_ND, labels_N = batch(3000, d, 300)
    x_ND = x_ND.to(dtype)
    truth, truth_gradient = dense_in(torch.float64, x_ND, labels_N, 0.1)
    dense, dense_gradient = dense_in(dtype, x_ND, labels_N, 0.1)
    bits = []
    for _ in range(2):
        leaf_ND = x_ND.clone().requires_grad_()
        loss = supcon_loss(leaf_ND, labels_N, impl="fused")
        loss.backward()
        bits.append(leaf_ND.grad)
    assert torch.equal(*bits)
    assert abs(loss.detach() - truth) <= abs(dense - truth) + 16 * EPS * truth
    error = (leaf_ND.grad.double() - truth_gradient).norm()
    bar = (dense_gradient - truth_gradient).norm() + 64 * EPS * truth_gradient.norm()
    assert error <= bar


@on_a_gpu
def test_memory_grows_with_the_rows_alone():
    x_ND, labels_N = batch(65536, 128, 1000)
    x_ND = x_ND.bfloat16().requires_grad_()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    supcon_loss(x_ND, labels_N, impl="fused").backward()
    assert torch.cuda.max_memory_allocated() - before < 16 * x_ND.numel() * 2
