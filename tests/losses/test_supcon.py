import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from supcon_problems import (
    LABEL_DTYPES,
    Problem,
    dense_in,
    gradient_bar,
    supcon_problems,
    value_and_gradient,
    value_bar,
)
from torch.nn import functional

from lacvit.errors import InputError
from lacvit.losses import LossDetails, supcon_floor, supcon_loss, supcon_start, tiled
from lacvit.losses.linear_memory import Forces, Pairs

EPS = {d: torch.finfo(d).eps for d in (torch.bfloat16, torch.float16, torch.float32, torch.float64)}
# "fused" needs a GPU or Triton's interpreter: see test_fused.py.
every_implementation = pytest.mark.parametrize("impl", ["reference", "tiled"])


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(tiled, "TILE", 4)


def batch(n=12, d=6, n_classes=4, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, d, generator=generator, dtype=torch.float64).to(dtype)
    return z, torch.randint(n_classes, (n,), generator=generator)


def simplex(labels):
    """Every class one point, all classes at the same angle."""
    classes, index = labels.unique(return_inverse=True)
    corners = torch.eye(len(classes), dtype=torch.float64)
    return (corners - corners.mean(dim=0) if len(classes) > 1 else corners)[index]


def paper(embeddings, labels, temperature):
    """Khosla et al. 2020, equation 2, as it is printed: loops over anchors, positives, others."""
    z = functional.normalize(embeddings.double(), dim=1).tolist()
    e = [[math.exp(sum(map(float.__mul__, a, b)) / temperature) for b in z] for a in z]
    losses = []
    for i, label in enumerate(labels.tolist()):
        others = [a for a in range(len(z)) if a != i]
        positives = [p for p in others if labels[p] == label]
        if positives:
            denominator = sum(e[i][a] for a in others)
            logs = [math.log(e[i][p] / denominator) for p in positives]
            losses.append(-sum(logs) / len(positives))
    return sum(losses) / len(losses) if losses else 0.0


@every_implementation
@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0])
@pytest.mark.parametrize("n_classes", [1, 4, 30])
@pytest.mark.parametrize("n", [0, 1, 2, 13])
def test_the_printed_equation(impl, temperature, n_classes, n, small_tiles):
    z, labels = batch(n=n, n_classes=n_classes)
    loss = supcon_loss(z, labels, temperature=temperature, impl=impl)
    assert loss.item() == pytest.approx(paper(z, labels, temperature), rel=1e-12, abs=1e-12)


@settings(max_examples=200)
@given(problem=supcon_problems())
def test_tiled_matches_the_definition(problem: Problem):
    dtype = problem.embeddings.dtype
    arithmetic = EPS[torch.promote_types(dtype, torch.float32)]
    truth, truth_gradient = value_and_gradient(problem, "reference", torch.float64)
    dense, dense_gradient = value_and_gradient(problem, "reference", dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiled, "TILE", problem.tile)
        patch.setattr(tiled, "KEPT_BYTES", problem.kept_bytes)
        patch.setattr(tiled, "PIECE_BYTES", max(8, problem.kept_bytes // 3))
        value, gradient = value_and_gradient(problem, "tiled", dtype)
    eps = arithmetic + EPS[torch.float64]  # the truth is rounded too
    assert abs(value - truth) <= abs(dense - truth) + value_bar(problem, eps)
    rounding = EPS[dtype] * truth_gradient.norm()  # the gradient comes back in the input's dtype
    error, dense_error = gradient - truth_gradient, dense_gradient - truth_gradient
    assert error.norm() <= dense_error.norm() + gradient_bar(problem, eps) + rounding


@settings(max_examples=50)
@given(problem=supcon_problems())
def test_low_precision_input_costs_no_more_than_its_rounding(problem: Problem):
    """Half-precision input: the loss is that of the rounded numbers, to float32's accuracy."""
    value, _ = value_and_gradient(problem, "auto", problem.embeddings.dtype)
    wide, _ = value_and_gradient(problem, "auto", torch.float64)
    assert abs(value - wide) <= value_bar(problem, EPS[torch.float32] + EPS[torch.float64])


@every_implementation
@pytest.mark.parametrize("temperature", [0.02, 0.1])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_errs_less_than_the_dense_form_in_the_same_dtype(impl, dtype, temperature, small_tiles):
    x, labels = batch(n=60, d=24, n_classes=5)
    x = x.to(dtype)
    truth, truth_gradient = dense_in(torch.float64, x, labels, temperature)
    dense, dense_gradient = dense_in(dtype, x, labels, temperature)
    value, gradient = value_and_gradient(Problem(x, labels, temperature, True, 4, 0), impl, dtype)
    assert abs(value - truth) <= abs(dense - truth)
    assert 0 < (gradient - truth_gradient).norm() < (dense_gradient - truth_gradient).norm()


@pytest.mark.parametrize("temperature", [0.005, 0.1])
@pytest.mark.parametrize("n_classes", [3, 600])
def test_tiled_at_its_own_tile_size(temperature, n_classes, monkeypatch):
    z, labels = batch(n=1200, d=32, n_classes=n_classes, dtype=torch.float32)
    problem = Problem(z, labels, temperature, True, tiled.TILE, 0)
    truth, truth_gradient = value_and_gradient(problem, "reference", torch.float64)
    dense, dense_gradient = value_and_gradient(problem, "reference", torch.float32)
    for kept_bytes in (0, 3 * 512 * 512 * 4, 2**30):  # no tile, some, all
        monkeypatch.setattr(tiled, "KEPT_BYTES", kept_bytes)
        value, gradient = value_and_gradient(problem, "tiled", torch.float32)
        assert abs(value - truth) <= abs(dense - truth) + 4 * EPS[torch.float32] * truth
        # measured: at most 1.1 times the dense error
        assert (gradient - truth_gradient).norm() <= 2 * (dense_gradient - truth_gradient).norm()


@pytest.mark.parametrize("per_class", [2, 20])
@pytest.mark.parametrize("length", [1.0, 1e3, 1e5])
@pytest.mark.parametrize("orthogonal", [False, True])
def test_a_long_row_costs_no_digits(orthogonal, length, per_class):
    """|S|^2 - Q takes large numbers off one another; of a sum one row is all that counts."""
    z = functional.normalize(torch.randn(400, 128), dim=1)
    if orthogonal:  # to the others
        z[0, 64:], z[1:, :64] = 0, 0
        z = functional.normalize(z, dim=1)
    z[0] *= length
    temperature = 1.0 if orthogonal else length
    problem = Problem(z, torch.arange(400) // per_class, temperature, False, tiled.TILE, 0)
    truth, truth_gradient = value_and_gradient(problem, "reference", torch.float64)
    value, gradient = value_and_gradient(problem, "tiled", torch.float32)
    assert abs(value - truth) <= 1e-6  # measured: 4e-7 at most, the dense form's too
    errors = (gradient - truth_gradient).norm(dim=1) / truth_gradient.norm(dim=1)
    assert errors.max() <= 2e-6  # measured: 8e-7


@pytest.mark.parametrize("noise", [0.1, 0.01, 0.001])
@pytest.mark.parametrize("n_classes", [1, 10, 256])
def test_a_class_that_is_nearly_a_point_costs_no_digits(noise, n_classes):
    """Attraction and repulsion are long and nearly cancel: the loss at the end of training."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(512) % n_classes
    centres = functional.normalize(torch.randn(n_classes, 64, generator=generator), dim=1)
    z = centres[labels] + noise / 8 * torch.randn(512, 64, generator=generator)
    problem = Problem(z, labels, 0.1, True, tiled.TILE, 0)
    _, truth = value_and_gradient(problem, "reference", torch.float64)
    _, dense = value_and_gradient(problem, "reference", torch.float32)
    _, gradient = value_and_gradient(problem, "tiled", torch.float32)
    # measured: 0.9 to 1.3 times the dense error
    assert (gradient - truth).norm() <= 1.5 * (dense - truth).norm()


@pytest.mark.parametrize("shared", [1, 20, 100])
def test_a_direction_that_all_rows_share_costs_no_digits(shared):
    """Cosines of 0.5 to 0.9999: what an encoder may give before training."""
    z, labels = batch(n=512, d=64, n_classes=10, dtype=torch.float32)
    problem = Problem(z + shared * batch(n=1, d=64, seed=1)[0].float(), labels, 0.1, True, 512, 0)
    _, truth = value_and_gradient(problem, "reference", torch.float64)
    _, dense = value_and_gradient(problem, "reference", torch.float32)
    _, gradient = value_and_gradient(problem, "tiled", torch.float32)
    assert (gradient - truth).norm() <= 1.5 * (dense - truth).norm()


@pytest.mark.parametrize("temperature", [0.1, 0.001])  # 0.001: a maximum must be taken off
@pytest.mark.parametrize("own", [(0, 5), (5, 6), (3, 13), (4, 4)])
def test_a_block_of_rows_gets_its_part(own, temperature, small_tiles):
    """What each of several processes computes: its rows, over all columns."""
    rows = slice(*own)
    z = functional.normalize(batch(n=13)[0], dim=1) * (1 if temperature == 0.1 else 0.05)
    longest = float(z.square().sum(dim=1).max())
    all_pairs = Pairs(z, z, 0, temperature, longest)
    own_pairs = Pairs(z[rows], z, rows.start, temperature, longest)
    everything: list[torch.Tensor] = []
    whole = tiled.log_denominators(all_pairs, everything)
    kept: list[torch.Tensor] = []
    part = tiled.log_denominators(own_pairs, kept)
    torch.testing.assert_close(part, whole[rows])
    whole[2] = torch.inf  # no anchor
    pull = torch.tensor([1.0, 1.0, 0.0, *[0.25] * 10], dtype=z.dtype)
    forces = Forces(whole, torch.tensor([0, 0, 2, *[1] * 10]), pull)
    expected = tiled.gradients(all_pairs, forces, everything)[rows]
    for given_tiles in (kept, []):
        got = tiled.gradients(own_pairs, forces, given_tiles)
        torch.testing.assert_close(got, expected)


@every_implementation
@pytest.mark.parametrize(
    ("temperature", "length", "normalize"),
    [
        (0.1, 1, False),
        (0.001, 0.05, False),  # a maximum must be taken off
        (0.1, None, True),  # rows as they come
    ],
)
def test_gradients_of_both_orders(impl, temperature, length, normalize, small_tiles):
    z, labels = batch(n=9, d=3)
    labels[0] = 99  # a row without a positive
    if length is not None:
        z = functional.normalize(z, dim=1) * length
    z.requires_grad_()

    def loss(z):
        return supcon_loss(z, labels, temperature=temperature, normalize=normalize, impl=impl)

    assert torch.autograd.gradcheck(loss, z)
    assert torch.autograd.gradgradcheck(loss, z)


@every_implementation
def test_permutation_relabelling_and_rotation_change_nothing(impl, small_tiles):
    z, labels = batch(n=15, d=5)
    loss = supcon_loss(z, labels, impl=impl)
    order = torch.randperm(15, generator=torch.Generator().manual_seed(1))
    rotation = torch.linalg.qr(batch(n=5, d=5, seed=2)[0]).Q
    renamed = torch.tensor([2**62, -7, 0, -(2**63)])[labels]
    for changed in (
        supcon_loss(z[order], labels[order], impl=impl),
        supcon_loss(z, renamed, impl=impl),
        supcon_loss(z @ rotation, labels, impl=impl),
        supcon_loss(z * torch.rand(15, 1).double().add(0.1), labels, impl=impl),
    ):
        torch.testing.assert_close(changed, loss, rtol=1e-13, atol=0)


@every_implementation
def test_unique_labels_over_two_views_give_nt_xent(impl, small_tiles):
    z, _ = batch(n=14, d=5)
    unit = functional.normalize(z, dim=1)
    logits = (unit @ unit.T / 0.5).fill_diagonal_(-torch.inf)
    partner = torch.arange(14).roll(7)
    expected = functional.cross_entropy(logits, partner)
    loss = supcon_loss(z, torch.arange(7).repeat(2), temperature=0.5, impl=impl)
    torch.testing.assert_close(loss, expected)


@every_implementation
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_known_value_at_collapse(impl, dtype):
    labels = torch.arange(10).repeat_interleave(20)
    loss = supcon_loss(simplex(labels).to(dtype), labels, temperature=0.1, impl=impl)
    assert loss.item() == pytest.approx(2.94458, abs=5e-6)


@every_implementation
@pytest.mark.parametrize("dtype", [*LABEL_DTYPES, torch.uint16, torch.uint32, torch.uint64])
def test_labels_of_any_integer_dtype(impl, dtype, small_tiles):
    z, labels = batch(n_classes=2)
    expected = supcon_loss(z, labels, impl="reference")
    torch.testing.assert_close(supcon_loss(z, labels.to(dtype), impl=impl), expected)


@every_implementation
@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_autocast_changes_no_bit(impl, dtype, requires_grad, small_tiles):
    z, labels = batch(dtype=dtype)
    z.requires_grad_(requires_grad)
    expected = supcon_loss(z, labels, impl=impl)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = supcon_loss(z, labels, impl=impl)
    assert loss.dtype == torch.promote_types(dtype, torch.float32)
    assert loss.requires_grad is requires_grad
    assert torch.equal(loss, expected)


@pytest.mark.parametrize("create_graph", [False, True])
def test_backward_inside_autocast_stays_exact(create_graph, small_tiles):
    z, labels = batch(dtype=torch.float32)
    z.requires_grad_()
    (expected,) = torch.autograd.grad(supcon_loss(z, labels, impl="tiled"), z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (gradient,) = torch.autograd.grad(supcon_loss(z, labels), z, create_graph=create_graph)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-6)  # in bfloat16: 1e-2
    outside = supcon_loss(z, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (gradient,) = torch.autograd.grad(outside, z, create_graph=create_graph)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-6)


@every_implementation
def test_backward_twice_through_one_graph(impl, small_tiles):
    z, labels = batch()
    z.requires_grad_()
    loss = supcon_loss(z, labels, impl=impl)
    (first,) = torch.autograd.grad(loss, z, retain_graph=True)
    (second,) = torch.autograd.grad(3 * loss, z)
    torch.testing.assert_close(second, 3 * first)


@every_implementation
@pytest.mark.parametrize("labels", [[], [5], [5, -5, 0]])
def test_without_a_positive_the_loss_is_zero_and_attached(impl, labels):
    z = torch.randn(len(labels), 4, requires_grad=True)
    loss, details = supcon_loss(
        z, torch.tensor(labels, dtype=torch.int64), impl=impl, return_details=True
    )
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(z.grad, torch.zeros_like(z))
    assert (details.anchors, details.left_out) == (0, len(labels))


@every_implementation
def test_a_row_without_a_positive_is_left_out_but_repels(impl, small_tiles):
    z, _ = batch(n=5)
    z.requires_grad_()
    labels = torch.tensor([0, 0, 1, 1, 7])
    loss, details = supcon_loss(z, labels, impl=impl, return_details=True)
    loss.backward()
    assert details.implementation == impl
    assert (details.anchors, details.left_out) == (4, 1)
    assert loss.item() == pytest.approx(paper(z, labels, 0.1))
    assert z.grad[4].norm() > 0


@pytest.mark.parametrize("n", [12, 600])
def test_auto_says_what_it_chose_and_why(n):
    z, _ = batch(n=n)
    labels = torch.arange(n) % 4
    loss, details = supcon_loss(z, labels, return_details=True)
    reason = "exact, in memory that grows with the rows alone, on any device"
    assert details == LossDetails("tiled", reason, anchors=n, left_out=0)
    torch.testing.assert_close(loss, supcon_loss(z, labels, impl="reference"))


@every_implementation
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_scale_of_raw_embeddings_cannot_overflow(impl, scale):
    z, labels = batch(dtype=torch.float32)
    scaled = (z * scale).requires_grad_()
    loss = supcon_loss(scaled, labels, impl=impl)
    (gradient,) = torch.autograd.grad(loss, scaled)
    torch.testing.assert_close(loss, supcon_loss(z, labels, impl=impl))
    assert gradient.isfinite().all()


@pytest.mark.filterwarnings("default")  # the compiler's own
@every_implementation
def test_a_compiled_caller_gets_the_same_loss(impl, small_tiles):
    z, labels = batch(dtype=torch.float32)
    z.requires_grad_()

    def step(z):
        loss, details = supcon_loss(z * 3, labels, impl=impl, return_details=True)
        return loss * details.anchors

    loss = torch.compile(step, backend="eager")(z)
    assert torch.equal(loss, step(z))
    assert torch.equal(torch.autograd.grad(loss, z)[0], torch.autograd.grad(step(z), z)[0])


class LargestTensor(torch.utils._python_dispatch.TorchDispatchMode):
    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return result


def test_beside_the_room_for_tiles_no_tensor_is_larger_than_the_input(small_tiles, monkeypatch):
    monkeypatch.setattr(tiled, "KEPT_BYTES", 4 * 60 * 8)  # as much as the input takes
    z, labels = batch(n=60, d=8, dtype=torch.float32)
    z.requires_grad_()
    with LargestTensor() as largest:
        supcon_loss(z, labels, impl="tiled").backward()
    assert largest.numel == 60 * 8


class Products(torch.utils._python_dispatch.TorchDispatchMode):
    """Multiplications of matrix products."""

    multiplications = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if "mm" in function._schema.name:
            assert "addmm" in function._schema.name
            self.multiplications += args[1].numel() * args[2].shape[1]
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(("kept", "products"), [(0, 4), (2**30, 3)])
def test_each_pair_of_rows_is_computed_once(kept, products, monkeypatch):
    """Scores, scores again unless kept, two products for the gradient: of half the pairs each."""
    monkeypatch.setattr(tiled, "TILE", 4)
    monkeypatch.setattr(tiled, "KEPT_BYTES", kept)
    z, labels = batch(n=120, d=8)
    z.requires_grad_()
    with Products() as seen:
        supcon_loss(z, labels, impl="tiled").backward()
    of_half = 120 * 120 * 8 / 2
    assert seen.multiplications == pytest.approx(products * of_half, rel=4 / 120)


@pytest.mark.parametrize("sizes", [[5, 5, 5], [1, 2, 9], [4], [1, 1]])
@pytest.mark.parametrize("temperature", [0.005, 0.1, 1.0])
def test_a_collapsed_simplex_attains_the_floor(sizes, temperature):
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    loss = supcon_loss(simplex(labels), labels, temperature=temperature)
    assert supcon_floor(labels, temperature) == pytest.approx(loss.item(), abs=1e-12)


@settings(max_examples=30)
@given(st.integers(2, 5), st.integers(2, 5), st.integers(0, 2**31))
def test_equal_classes_never_fall_below_the_floor(n_classes, per_class, seed):
    labels = torch.arange(n_classes).repeat_interleave(per_class)
    z = simplex(labels)
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed), dtype=z.dtype)
    for size in (1e-2, 1.0):
        assert supcon_loss(z + size * noise, labels).item() >= supcon_floor(labels, 0.1) - 1e-12


@pytest.mark.parametrize("temperature", [0.01, 0.1, 10.0])
@pytest.mark.parametrize("z", [torch.ones(12, 3), torch.eye(12)])
@every_implementation
def test_embeddings_that_tell_nothing_apart_attain_the_start(impl, z, temperature):
    loss = supcon_loss(z, torch.arange(12) % 3, temperature=temperature, impl=impl)
    # Of float32's log-denominator, 1 / t + ln N at most, half a unit in its last place.
    rounding = 2**-24 * (1 / temperature + math.log(12)) if impl == "tiled" else 0
    assert loss.item() == pytest.approx(
        supcon_start(12), abs=max(1e-6 * supcon_start(12), rounding)
    )


def test_landmarks_of_batches_without_pairs():
    assert supcon_start(0) == supcon_start(1) == 0.0
    assert supcon_floor(torch.tensor([], dtype=torch.int64), 0.1) == 0.0
    assert supcon_floor(torch.tensor([1, 2]), 0.1) == 0.0


Z, LABELS = torch.ones(4, 3), torch.tensor([0, 0, 1, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: supcon_loss(Z[:, None], LABELS), r"shape \(4, 1, 3\); expected \(N, D\)"),
        (lambda: supcon_loss(Z[:, :0], LABELS), r"shape \(4, 0\); expected \(N, D\)"),
        (lambda: supcon_loss([[1.0]], LABELS), "embeddings are a list; give a torch tensor"),
        (lambda: supcon_loss(Z, [0, 0, 1, 1]), "labels are a list; give a torch tensor"),
        (lambda: supcon_loss(Z.int(), LABELS), "embeddings are torch.int32; expected a floating"),
        (lambda: supcon_loss(Z, LABELS[:3]), r"labels have shape \(3,\) .* \(4,\)"),
        (
            lambda: supcon_loss(Z, LABELS.float()),
            "labels are torch.float32; expected class numbers",
        ),
        (lambda: supcon_loss(Z, LABELS, temperature=0), "temperature is 0; it must be a number"),
        (lambda: supcon_loss(Z, LABELS, temperature=math.nan), "temperature is nan"),
        (lambda: supcon_loss(Z, LABELS, temperature=math.inf), "temperature is inf"),
        (lambda: supcon_loss(Z, LABELS, temperature=torch.tensor(0.1)), "temperature is tensor"),
        (
            lambda: supcon_loss(Z, LABELS, normalize=1),
            "normalize is 1, a int; give Python's True or False",
        ),
        (lambda: supcon_loss(Z, LABELS, impl="dense"), "impl is 'dense'; allowed: auto, reference"),
        (
            lambda: supcon_loss(Z.index_fill(0, LABELS[2:3], 0), LABELS),
            "embedding 1 of 4 is all ze",
        ),
        (lambda: supcon_loss(Z * math.nan, LABELS), "embedding 0 of 4 is not finite"),
        (lambda: supcon_loss(Z * math.inf, LABELS, normalize=False), "0 of 4 is not finite"),
        (lambda: supcon_loss(Z * 1e25, LABELS, normalize=False), "0 of 4 is too long"),
        (lambda: supcon_floor(LABELS[None], 0.1), r"labels have shape \(1, 4\)"),
        (lambda: supcon_floor(LABELS, -1), "temperature is -1; it must be above 0"),
    ],
)
def test_faults_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
