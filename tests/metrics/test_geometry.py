import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lacvit.errors import InputError
from lacvit.metrics.geometry import effective_rank, iso_score, mean_cosine, participation_ratio

MEASURES = {
    "mean_cosine": mean_cosine,
    "mean_cosine centred": lambda x: mean_cosine(x, centre=True),
    "effective_rank": effective_rank,
    "effective_rank uncentred": lambda x: effective_rank(x, centre=False),
    "participation_ratio": participation_ratio,
    "iso_score": iso_score,
}
SHIFT_INVARIANT = ["mean_cosine centred", "effective_rank", "participation_ratio", "iso_score"]


@st.composite
def clouds(draw):
    """Gaussian clouds of any shape, stretched along their axes and moved off the origin."""
    n, d = draw(st.integers(3, 30)), draw(st.integers(2, 12))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    stretch = 10.0 ** random.uniform(-draw(st.sampled_from([0, 1, 3])), 0, size=d)
    return random.normal(size=(n, d)) * stretch + draw(st.sampled_from([0.0, 1.0, 5.0]))


def simplex(n_classes, per_class, d):
    corners = np.eye(n_classes, d) - np.eye(n_classes, d).mean(axis=0)
    return np.repeat(corners, per_class, axis=0)


def published_iso_score(x):
    """The steps of Rudman et al. 2022, algorithm 1, with eigenvalues."""
    d = x.shape[1]
    spectrum = np.linalg.eigvalsh(np.cov(x, rowvar=False)).clip(min=0)
    spectrum = np.sqrt(d) * spectrum / np.linalg.norm(spectrum)
    defect = np.linalg.norm(spectrum - 1) / np.sqrt(2 * (d - np.sqrt(d)))
    return ((d - defect**2 * (d - np.sqrt(d))) ** 2 - d) / (d * (d - 1))


@given(clouds())
def test_iso_score_equals_its_published_steps(x):
    assert iso_score(x) == pytest.approx(published_iso_score(x), abs=1e-9)


@given(clouds(), st.booleans())
def test_mean_cosine_equals_the_full_matrix(x, centre):
    y = x - x.mean(axis=0) if centre else x
    unit = y / np.linalg.norm(y, axis=1, keepdims=True)
    cosines = unit @ unit.T
    expected = cosines[~np.eye(len(x), dtype=bool)].mean()
    assert mean_cosine(x, centre=centre) == pytest.approx(expected, abs=1e-12)


@given(clouds(), st.booleans())
def test_effective_rank_equals_the_singular_values(x, centre):
    singular = np.linalg.svd(x - x.mean(axis=0) if centre else x, compute_uv=False)
    share = singular[singular > 1e-12 * singular[0]] / singular.sum()
    expected = np.exp(-(share * np.log(share)).sum())
    # singular values below 1e-8 of the largest are lost: each is worth 1e-8 ln(1e8) of entropy
    assert effective_rank(x, centre=centre) == pytest.approx(expected, rel=1e-6)


@given(clouds())
def test_bounds_and_order(x):
    n, d = x.shape
    ratio, rank = participation_ratio(x), effective_rank(x)
    assert 1 - 1e-9 <= ratio <= rank + 1e-9
    assert rank <= min(n - 1, d) + 1e-9
    assert effective_rank(x, centre=False) <= min(n, d) + 1e-9
    assert 0 <= iso_score(x) <= (min(n - 1, d) - 1) / (d - 1) + 1e-9
    for centre in (False, True):
        assert -1 / (n - 1) - 1e-9 <= mean_cosine(x, centre=centre) <= 1 + 1e-9


@given(clouds(), st.integers(0, 2**32 - 1))
@pytest.mark.parametrize("name", MEASURES)
def test_rotation_scale_and_order_move_nothing(name, x, seed):
    random = np.random.default_rng(seed)
    rotation = np.linalg.qr(random.normal(size=(x.shape[1], x.shape[1])))[0]
    changed = 1e-3 * random.permutation(x) @ rotation
    assert MEASURES[name](changed) == pytest.approx(MEASURES[name](x), rel=1e-6, abs=1e-6)


@given(clouds())
@pytest.mark.parametrize("name", SHIFT_INVARIANT)
def test_an_offset_moves_only_what_it_should(name, x):
    assert MEASURES[name](x + 3) == pytest.approx(MEASURES[name](x), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_a_collapsed_simplex(n_classes):
    x = simplex(n_classes, per_class=6, d=16)
    n = len(x)
    assert mean_cosine(x) == pytest.approx(-1 / (n - 1))
    assert effective_rank(x) == pytest.approx(n_classes - 1, rel=1e-6)
    assert participation_ratio(x) == pytest.approx(n_classes - 1)
    assert iso_score(x) == pytest.approx((n_classes - 2) / 15)


def test_cone_and_spectrum_are_two_things():
    random = np.random.default_rng(0)
    offset = np.eye(64)[0] * 8
    x = random.normal(size=(20_000, 64)) + offset
    assert mean_cosine(x) == pytest.approx(0.5, abs=0.01)  # |mean|^2 / (|mean|^2 + 64)
    assert iso_score(x) > 0.99
    assert abs(mean_cosine(x, centre=True)) < 1e-3


@pytest.mark.parametrize("value", [0.0, 0.1, -1e30, 1e-30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_identical_rows_have_rank_zero(value, dtype):
    x = np.full((1000, 7), value, dtype=dtype)
    assert effective_rank(x) == participation_ratio(x) == iso_score(x) == 0.0
    if value:
        assert mean_cosine(x) == pytest.approx(1.0)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
@pytest.mark.parametrize("name", MEASURES)
def test_the_scale_of_the_input_cannot_overflow(name, scale):
    x = np.random.default_rng(0).normal(size=(50, 8))
    assert MEASURES[name](scale * x) == pytest.approx(MEASURES[name](x))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("name", MEASURES)
def test_the_arithmetic_is_in_float64(name, dtype):
    x = (np.random.default_rng(0).normal(size=(50, 8)) + 5).astype(dtype)
    assert MEASURES[name](x) == MEASURES[name](x.astype(np.float64))


@pytest.mark.parametrize("name", MEASURES)
def test_faults_are_named(name):
    good = np.ones((3, 4)) + np.eye(3, 4)
    bad = good.copy()
    bad[1, 2] = np.nan
    with pytest.raises(InputError, match=r"features: row 1 of 3 is not finite \(1 such rows\)"):
        MEASURES[name](bad)
    with pytest.raises(InputError, match="features have 1 rows; at least 2 are needed"):
        MEASURES[name](good[:1])
    with pytest.raises(InputError, match=r"features have shape \(3,\); expected \(N, D\)"):
        MEASURES[name](np.ones(3))


def test_a_row_without_direction_has_no_cosine():
    with pytest.raises(InputError, match="features: row 1 of 2 is all zeros"):
        mean_cosine(np.array([[1.0, 0.0], [0.0, 0.0]]))
    with pytest.raises(InputError, match="features after centring: row 0 of 3 is all zeros"):
        mean_cosine(np.array([[1.0, 1.0], [2.0, 1.0], [0.0, 1.0]]), centre=True)
    with pytest.raises(InputError, match="IsoScore needs at least 2"):
        iso_score(np.ones((3, 1)))
