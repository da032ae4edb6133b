import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from lacvit.errors import InputError
from lacvit.metrics.significance import (
    accuracy_interval,
    fold_accuracy_interval,
    fold_difference,
    holm,
    mcnemar,
    paired_difference,
)


def answers(rng, *, seeds, images, gain, seed_spread=0.0, image_spread=1.0):
    """Right or wrong answers of two methods: images differ in difficulty, seeds in luck."""
    difficulty = image_spread * rng.normal(size=images)
    pair = []
    for shift in (gain, 0.0):
        luck = seed_spread * rng.normal(size=(seeds, 1))
        pair.append(rng.normal(size=(seeds, images)) < 1.0 + shift + luck - difficulty)
    return pair


def true_difference(gain, seed_spread, image_spread=1.0):
    spread = np.sqrt(1 + seed_spread**2 + image_spread**2)
    return stats.norm.cdf((1 + gain) / spread) - stats.norm.cdf(1 / spread)


def test_a_worked_example():
    a = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], dtype=bool)
    b = np.array([[1, 0, 0, 0], [1, 1, 0, 0]], dtype=bool)
    found = paired_difference(a, b, resamples=2000)
    assert found.difference == pytest.approx(0.25)
    assert (found.seeds, found.images) == (2, 4)
    assert found.seeds_won == 1.5
    assert found.mcnemar == (0.5, 1.0)
    assert found.seeds_tied == 1
    half = stats.t.ppf(0.975, 1) * 0.5 * np.sqrt(0.5) / np.sqrt(2)
    assert half > 3
    assert found.paired_t == (-1.0, 1.0), "no difference is larger"
    assert found.interval == found.paired_t, "the wider one"
    assert found.basis == "paired_t"
    assert found.verdict == "unsettled"


def test_the_paired_t_is_scipys():
    a, b = answers(np.random.default_rng(0), seeds=5, images=300, gain=0.1, seed_spread=0.1)
    found = paired_difference(a, b, resamples=500)
    expected = stats.ttest_rel(a.mean(axis=1), b.mean(axis=1))
    assert found.paired_t == pytest.approx(tuple(expected.confidence_interval()))
    assert found.p_value >= expected.pvalue


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_bootstrap_of_images_is_scipys(seeds):
    a, b = answers(np.random.default_rng(1), seeds=seeds, images=400, gain=0.2)
    found = paired_difference(a, b)
    by_image = (a.astype(float) - b).mean(axis=0)
    expected = stats.bootstrap(
        (by_image,), np.mean, n_resamples=10_000, method="percentile", rng=2, vectorized=True
    ).confidence_interval
    assert found.image_bootstrap == pytest.approx(tuple(expected), abs=0.004)  # error: 0.001


def test_two_way_variance_is_the_sum_of_its_parts():
    """Owen 2007: about var(seeds)/S + var(images)/N + 3 times the part of neither, over S N."""
    a, b = answers(np.random.default_rng(3), seeds=8, images=500, gain=0.1, seed_spread=0.3)
    difference = a.astype(float) - b
    draws = paired_difference(a, b, resamples=20_000)
    width = draws.two_way[1] - draws.two_way[0]
    seeds, images = difference.shape
    plain = difference.mean(axis=1).var() / seeds + difference.mean(axis=0).var() / images
    rest = difference - difference.mean(axis=1, keepdims=True) - difference.mean(axis=0)
    expected = plain + (rest + difference.mean()).var() / (seeds * images)
    assert width == pytest.approx(2 * 1.96 * np.sqrt(expected), rel=0.05)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_coverage_of_the_reported_interval(seeds):
    """Nominally 95 %; between 93 and 99 over simulated experiments with a known difference."""
    rng = np.random.default_rng(17)
    seed_spread = 0.15
    truth = true_difference(0.15, seed_spread)
    repeats = 200
    covered = 0
    for _ in range(repeats):
        a, b = answers(rng, seeds=seeds, images=200, gain=0.15, seed_spread=seed_spread)
        low, high = paired_difference(a, b, resamples=400).interval
        covered += low <= truth <= high
    assert 0.93 <= covered / repeats <= 0.99


def alike(rng, *, seeds, images, kind):
    """Two methods that differ on 4 % of the images: a alone is right on 3.5 %, b alone on 0.5 %.

    ``images``: on the same images under every seed; ``chance``: on images drawn anew by each seed;
    ``luck``: so too, and a seed has up to twice as many of them as another.
    """
    drawn = rng.uniform(size=(1 if kind == "images" else seeds, images)) + np.zeros((seeds, 1))
    luck = np.clip(1 + 0.5 * rng.normal(size=(seeds, 1)), 0, 2) if kind == "luck" else 1.0
    both = np.tile(rng.uniform(size=images) < 0.8, (seeds, 1))
    only_a, only_b = drawn < 0.035 * luck, drawn > 0.995
    return (both | only_a) & ~only_b, (both | only_b) & ~only_a


@pytest.mark.parametrize("kind", ["images", "chance", "luck"])
@pytest.mark.parametrize("images", [20, 40])
@pytest.mark.parametrize("design", ["split", "folds"])
def test_few_images_on_which_methods_agree_settle_nothing(design, images, kind):
    """The interval holds the true 3 points at least 93 times in 100; "equal" is never said.

    Without the made-up images it held them 20 to 80 times in 100 at these sizes.
    """
    rng = np.random.default_rng(18)
    found = []
    for _ in range(100):
        a, b = alike(rng, seeds=3, images=images, kind=kind)
        if design == "folds":
            fold = np.stack([rng.permutation(np.arange(images) % 5) for _ in range(3)])
            found.append(fold_difference(a, b, fold, resamples=300))
        else:
            found.append(paired_difference(a, b, resamples=300))
    assert np.mean([one.interval[0] <= 0.03 <= one.interval[1] for one in found]) >= 0.93
    assert "equal" not in [one.verdict for one in found]
    assert min(one.detectable for one in found) > 2 / images


@pytest.mark.parametrize(
    ("images", "verdict"), [(20, "unsettled"), (295, "unsettled"), (300, "equal")]
)
def test_equal_answers_are_called_equal_only_of_many_images(images, verdict):
    a = np.arange(images) % 5 > 0
    a = np.stack([a, a, a])
    fold = np.stack([np.arange(images) % 5] * 3)
    for found in (
        paired_difference(a, a),
        paired_difference(a[:1], a[:1]),
        fold_difference(a, a, fold),
    ):
        assert found.verdict == verdict
        assert found.interval[0] < 0 < found.interval[1]
        assert found.detectable > 0
        assert found.p_value == 1


def test_many_images_are_not_moved_by_the_two_made_up():
    """The bootstrap of images alone is the binomial's, whose error is known."""
    a, b = answers(np.random.default_rng(11), seeds=1, images=10_000, gain=0.1)
    low, high = paired_difference(a, b).image_bootstrap
    difference = (a.astype(float) - b)[0]
    error = difference.std() / np.sqrt(10_000)
    assert (low, high) == pytest.approx(
        (difference.mean() - 1.96 * error, difference.mean() + 1.96 * error), abs=0.05 * error
    )


def test_no_interval_and_no_difference_goes_beyond_all_images():
    a, b = np.ones((2, 4), dtype=bool), np.ones((2, 4), dtype=bool)
    a[0, :2], b[1, :3] = False, False
    found = paired_difference(a, b)
    assert found.interval == (-1.0, 1.0)
    assert found.detectable == 1.0


def test_an_accuracy_has_an_interval_within_0_and_1_even_without_a_mistake():
    low, high = accuracy_interval(np.ones((3, 20), dtype=bool))
    assert 0.8 < low < 0.9, "Wilson's, of 20 of 20, begins at 0.84"
    assert high == 1.0
    correct, _ = answers(np.random.default_rng(12), seeds=5, images=300, gain=0.0)
    low, high = accuracy_interval(correct)
    assert low < correct.mean() < high


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_coverage_of_an_accuracys_interval_where_the_seeds_differ_most(seeds):
    """Many images and seeds far apart: the bootstrap alone covers 80 % under three seeds."""
    rng = np.random.default_rng(19)
    repeats = 200
    covered = 0
    for _ in range(repeats):
        chance_S1 = 0.6 + 0.02 * rng.normal(size=(seeds, 1))
        low, high = accuracy_interval(rng.random((seeds, 2000)) < chance_S1, resamples=300)
        covered += low <= 0.6 <= high
    assert 0.93 <= covered / repeats <= 0.99


def test_one_seed_says_that_training_was_not_measured():
    a, b = answers(np.random.default_rng(4), seeds=1, images=200, gain=0.5)
    found = paired_difference(a, b)
    assert found.two_way is None
    assert found.paired_t is None
    assert found.interval == found.image_bootstrap
    assert found.basis == "images alone: one run each, training was not measured"


@pytest.mark.parametrize(
    ("gain", "images", "verdict"),
    [(0.5, 500, "better"), (-0.5, 500, "worse"), (0.0, 20_000, "equal"), (0.05, 100, "unsettled")],
)
def test_verdicts(gain, images, verdict):
    a, b = answers(np.random.default_rng(5), seeds=5, images=images, gain=gain)
    found = paired_difference(a, b, resamples=2000)
    assert found.verdict == verdict


def test_the_margin_decides_what_is_equal():
    a, b = answers(np.random.default_rng(6), seeds=5, images=2000, gain=0.0)
    assert not paired_difference(a, b, margin=0.001, resamples=1000).equivalent
    assert paired_difference(a, b, margin=0.05, resamples=1000).equivalent


def test_the_detectable_difference_is_detected_four_times_in_five():
    rng = np.random.default_rng(7)
    settled = [answers(rng, seeds=5, images=500, gain=0.0) for _ in range(20)]
    smallest = np.mean([paired_difference(a, b, resamples=400).detectable for a, b in settled])
    spread = np.sqrt(2)
    gain = spread * stats.norm.ppf(stats.norm.cdf(1 / spread) + smallest) - 1
    found = [
        paired_difference(*answers(rng, seeds=5, images=500, gain=gain), resamples=400)
        for _ in range(80)
    ]
    assert 0.7 <= np.mean([result.interval[0] > 0 for result in found]) <= 0.95


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (7, 2), (30, 30), (40, 80)])
def test_mcnemar_is_statsmodels(only_a, only_b):
    a = np.array([True] * only_a + [False] * only_b + [True] * 5)
    b = np.array([False] * only_a + [True] * only_b + [True] * 5)
    table = [[5, only_a], [only_b, 0]]
    expected = statsmodels_mcnemar(table, exact=True).pvalue
    assert mcnemar(a, b) == pytest.approx(expected)
    assert mcnemar(b, a) == pytest.approx(expected)


def test_p_is_told_beyond_the_number_of_draws():
    """Else Holm over the pairs of a large report would leave nothing settled, whatever it is."""
    a, b = answers(np.random.default_rng(11), seeds=1, images=10_000, gain=0.1)
    found = paired_difference(a, b, resamples=1_000)
    difference = (a.astype(float) - b).mean(axis=0)
    z = difference.mean() / (difference.std() / np.sqrt(10_000))
    assert np.log(found.p_value) == pytest.approx(np.log(2 * stats.norm.sf(z)), rel=0.1)
    assert holm([found.p_value], of=993)[0] < 0.001 < 993 * 2 / 1_001
    few = paired_difference(a[:, :40], b[:, :40], resamples=1_000)
    assert few.p_value >= 2 / 1_001, "where draws lie on both sides of 0 they are counted"


@pytest.mark.parametrize("p_values", [[0.01, 0.04, 0.03, 0.5], [0.2], [0.05, 0.05, 0.9, 1.0], []])
def test_holm_is_statsmodels(p_values):
    expected = multipletests(p_values, method="holm")[1] if p_values else []
    assert holm(p_values) == pytest.approx(tuple(expected))


def test_holm_among_more_comparisons_than_are_reported():
    assert holm([0.01, 0.02], of=6) == pytest.approx((0.06, 0.1))


def fold_answers(rng, images, repeats, folds):
    a, b = answers(rng, seeds=repeats, images=images, gain=0.3)
    fold = np.stack([rng.permutation(np.arange(images) % folds) for _ in range(repeats)])
    return a, b, fold


def test_folds_widen_the_t_interval_by_the_overlap_of_their_training_sets():
    a, b, fold = fold_answers(np.random.default_rng(8), images=60, repeats=2, folds=5)
    found = fold_difference(a, b, fold)
    difference = a.astype(float) - b
    sample = np.array([difference[r, fold[r] == k].mean() for r in range(2) for k in range(5)])
    half = stats.t.ppf(0.975, 9) * sample.std(ddof=1) * np.sqrt(1 / 10 + 12 / 48)
    assert found.difference == pytest.approx(difference.mean())
    assert found.corrected_t == pytest.approx((sample.mean() - half, sample.mean() + half))
    width = found.interval[1] - found.interval[0]
    assert width == max(
        found.corrected_t[1] - found.corrected_t[0],
        found.image_bootstrap[1] - found.image_bootstrap[0],
    )
    assert found.basis == "corrected_t"


def test_the_same_seed_gives_the_same_figures():
    a, b = answers(np.random.default_rng(9), seeds=3, images=100, gain=0.1)
    assert paired_difference(a, b, seed=1) == paired_difference(a, b, seed=1)
    assert paired_difference(a, b, seed=1) != paired_difference(a, b, seed=2)


def test_swapping_the_methods_turns_the_signs():
    a, b = answers(np.random.default_rng(10), seeds=4, images=150, gain=0.2)
    there, back = paired_difference(a, b), paired_difference(b, a)
    assert there.difference == pytest.approx(-back.difference)
    assert there.paired_t == pytest.approx((-back.paired_t[1], -back.paired_t[0]))
    assert there.seeds_won + back.seeds_won == 4
    turned = there.mirrored()
    assert turned.difference == back.difference
    assert turned.paired_t == back.paired_t
    assert turned.interval == pytest.approx(back.interval, abs=0.01)
    assert turned.mirrored() == there


@pytest.mark.parametrize("shape", [(2, 3), (6,), (0, 5)])
def test_shapes_that_do_not_pair_are_refused(shape):
    with pytest.raises(InputError, match=r"expected the same \(seeds, images\) of both"):
        paired_difference(np.ones(shape, dtype=bool), np.ones((2, 4), dtype=bool))


def test_a_single_fold_is_refused():
    a = np.ones((1, 4), dtype=bool)
    with pytest.raises(InputError, match="at least 2 folds"):
        fold_difference(a, a, np.zeros((1, 4), dtype=int))


def test_the_accuracy_of_folds_knows_that_no_image_counts_less_than_nothing() -> None:
    """20 of 20: what was 72.7 to 100 while it was the difference to a method without answers."""
    fold = np.tile(np.arange(20) % 5, (5, 1))
    low, high = fold_accuracy_interval(np.ones((5, 20), bool), fold)
    assert (low, high) == pytest.approx(accuracy_interval(np.ones((5, 20), bool)), abs=0.02)
    some = np.arange(30) < 27
    low, high = fold_accuracy_interval(np.tile(some, (5, 1)), np.tile(np.arange(30) % 5, (5, 1)))
    assert 0.7 < low < 0.9 < high <= 1


def test_the_accuracy_of_folds_is_covered_by_its_interval() -> None:
    """200 experiments of 40 images, each right with a chance of its own under 5 repeats."""
    rng = np.random.default_rng(0)
    fold = np.tile(np.arange(40) % 5, (5, 1))
    held = 0
    for _ in range(200):
        chance_n = rng.beta(4, 1, size=40)  # the mean over all images is 0.8
        low, high = fold_accuracy_interval(rng.random((5, 40)) < chance_n, fold, resamples=400)
        held += low <= 0.8 <= high
    assert held >= 186  # 93 %
