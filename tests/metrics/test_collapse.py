import numpy as np
import pytest
from clouds import classes, simplex

from lacvit.errors import InputError
from lacvit.metrics.collapse import LinearHead, neural_collapse


def definition(x, labels):
    """Every figure from full matrices, a class at a time."""
    names = np.unique(labels)
    n, c = len(x), len(names)
    means = np.array([x[labels == name].mean(axis=0) for name in names])
    deviations = [x[labels == name] - x[labels == name].mean(axis=0) for name in names]
    within = sum(deviation.T @ deviation for deviation in deviations) / n
    counts = np.array([(labels == name).sum() for name in names])
    offsets = means - x.mean(axis=0)
    between = (offsets.T * counts) @ offsets / n
    variances = [(deviation**2).sum(axis=1).mean() for deviation in deviations]
    pairs = [(a, b) for a in range(c) for b in range(c) if a != b]
    cdnv = np.mean(
        [(variances[a] + variances[b]) / (2 * ((means[a] - means[b]) ** 2).sum()) for a, b in pairs]
    )
    centred = means - means.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=1)
    cosines = np.array([centred[a] @ centred[b] / lengths[a] / lengths[b] for a, b in pairs])
    return {
        "nc1": np.trace(within @ np.linalg.pinv(between, rcond=1e-8)) / c,
        "nc1_ratio": np.trace(within) / np.trace(between),
        "cdnv": cdnv,
        "nc2_norms": lengths.std() / lengths.mean(),
        "nc2_angles": cosines.std(),
        "nc2_simplex": np.abs(cosines + 1 / (c - 1)).mean(),
    }


@pytest.mark.parametrize(("n_classes", "d"), [(4, 12), (12, 5), (2, 3), (5, 120)])
@pytest.mark.parametrize("seed", range(2))
def test_all_figures_equal_their_definitions(seed, n_classes, d):
    x, labels = classes(seed, n_classes=n_classes, d=d)
    found = neural_collapse(x, labels)
    for name, value in definition(x, labels).items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-7), name
    assert found.nc3 is None
    assert found.nc4 is None


@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_a_collapsed_simplex_is_all_zeros(n_classes):
    x = 5 + simplex(n_classes, per_class=4, d=16)
    labels = np.repeat(np.arange(n_classes), 4)
    corners = simplex(n_classes, 1, 16)
    head = LinearHead(corners, -(corners @ np.full(16, 5.0)))
    found = neural_collapse(x, labels, head=head)
    np.testing.assert_allclose(list(vars(found).values()), 0, atol=1e-12)


def test_directions_without_means_do_not_count():
    """Noise beside the span of the class means moves the ratio of traces and not NC1."""
    x, labels = classes(0, n_classes=3, d=6, noise=0.2)
    wide = np.hstack([x, np.zeros((len(x), 4))])
    beside = np.random.default_rng(0).normal(size=(len(x), 4))
    for name in range(3):  # the class means stay exactly where they were
        beside[labels == name] -= beside[labels == name].mean(axis=0)
    noisy = neural_collapse(np.hstack([x, 100 * beside]), labels)
    clean = neural_collapse(wide, labels)
    assert noisy.nc1 == pytest.approx(clean.nc1, rel=1e-6)
    assert noisy.nc1_ratio > 100 * clean.nc1_ratio


def test_random_labels_have_a_cdnv_of_half_a_class():
    random = np.random.default_rng(0)
    x, labels = random.normal(size=(4000, 64)), np.repeat(np.arange(10), 400)
    assert neural_collapse(x, labels).cdnv == pytest.approx(400 / 2, rel=0.1)


def test_means_that_coincide():
    random = np.random.default_rng(0)
    half = random.normal(size=(20, 5))
    found = neural_collapse(np.vstack([half, half]), np.repeat([0, 1], 20))
    assert found.cdnv == np.inf
    assert np.isnan([found.nc1, found.nc1_ratio, found.nc2_norms]).all()
    same = neural_collapse(np.full((6, 3), 0.1), np.repeat([0, 1], 3))
    assert np.isnan(same.cdnv)


def test_the_head_beside_the_class_means():
    x, labels = classes(3, n_classes=4)
    means = np.array([x[labels == k].mean(axis=0) for k in range(4)])
    nearest = ((x[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    centred = means - means.mean(axis=0)
    by_means = LinearHead(2 * means, -(means**2).sum(axis=1))
    assert neural_collapse(x, labels, head=by_means).nc4 == 0
    opposite = neural_collapse(x, labels, head=LinearHead(-3 * centred, np.zeros(4)))
    assert opposite.nc3 == pytest.approx(4)
    random = np.random.default_rng(0)
    weight, bias = random.normal(size=(4, 12)), random.normal(size=4)
    found = neural_collapse(x, labels, head=LinearHead(weight, bias))
    assert found.nc4 == np.mean((x @ weight.T + bias).argmax(axis=1) != nearest)
    expected = weight / np.linalg.norm(weight) - centred / np.linalg.norm(centred)
    assert found.nc3 == pytest.approx((expected**2).sum())


def test_a_head_may_know_more_classes():
    x, labels = classes(3, n_classes=3)
    random = np.random.default_rng(0)
    weight, bias = random.normal(size=(5, 12)), random.normal(size=5)
    of_all = neural_collapse(x, labels + 1, head=LinearHead(weight, bias))
    of_some = neural_collapse(x, labels, head=LinearHead(weight[1:4], bias[1:4]))
    assert (of_all.nc3, of_all.nc4) == (of_some.nc3, of_some.nc4)


@pytest.mark.parametrize(
    ("head", "labels", "message"),
    [
        (LinearHead(np.ones((2, 5)), np.ones(2)), [0, 1, 1], r"\(2, 5\) .* expected \(C, 3\)"),
        (LinearHead(np.ones((2, 3)), np.ones(4)), [0, 1, 1], r"biases \(4,\)"),
        (LinearHead(np.ones((2, 3)), np.ones(2)), [0, 1, 2], "label 2 is 2; allowed: 0 to 1"),
        (LinearHead(np.ones((2, 3)), np.ones(2)), ["a", "b", "b"], "expected .* class numbers"),
    ],
)
def test_a_head_that_does_not_fit_is_refused(head, labels, message):
    with pytest.raises(InputError, match=message):
        neural_collapse(np.eye(3), np.array(labels), head=head)
