"""The exact head against scikit-learn, and the head by SGD."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from lacvit.training.head import ExactHead, LabelledFeatures, fit_exact_head, fit_on_both
from lacvit.training.heads import fresh_head, head_from
from lacvit.training.scores import correct, smoothed_cross_entropy

STRENGTHS = (0.001, 0.1, 10.0)


def problem(classes: int, n: int = 60, dim: int = 7, seed: int = 0) -> LabelledFeatures:
    draw = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    centres = np.random.default_rng(9).normal(size=(classes, dim))
    scales = 10.0 ** np.arange(-3, dim - 3)  # features of very different size, off centre
    x = (centres[labels] + draw.normal(size=(n, dim)) + 5) * scales
    return LabelledFeatures(x.astype(np.float32), labels)


def logits(head: ExactHead, features: np.ndarray) -> np.ndarray:
    return features @ head.weight_CD.T + head.bias_C


def solved(classes: int, strengths: tuple[float, ...] = STRENGTHS) -> ExactHead:
    return fit_exact_head(
        problem(classes), problem(classes, seed=1), classes=classes, strengths=strengths
    )


@pytest.mark.parametrize("classes", [2, 3, 6])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_it_equals_scikit_learn_on_standardised_features(classes: int, strength: float) -> None:
    head = solved(classes, (strength,))
    train, other = problem(classes), problem(classes, seed=1)
    x, x_other = (split.features_ND.astype(np.float64) for split in (train, other))
    scaler = StandardScaler().fit(x)
    model = LogisticRegression(C=strength, max_iter=1000).fit(scaler.transform(x), train.labels_N)
    expected = model.predict_proba(scaler.transform(x_other))
    given = torch.from_numpy(logits(head, other.features_ND)).softmax(1).numpy()
    assert head.weight_CD.shape == (classes, 7)
    # Logits of up to 100 in float32, which keeps 24 bits, then the softmax.
    np.testing.assert_allclose(given, expected, rtol=0, atol=2e-5)
    assert head.weight_CD.dtype == head.bias_C.dtype == np.float32


def test_the_last_fit_takes_validation_images_too_and_keeps_the_strength() -> None:
    train, validation, chosen = problem(6), problem(6, seed=1), solved(6)
    both = LabelledFeatures(
        np.concatenate([train.features_ND, validation.features_ND]),
        np.concatenate([train.labels_N, validation.labels_N]),
    )
    expected = fit_exact_head(both, train, classes=6, strengths=(chosen.strength,))
    found = fit_on_both(train, validation, chosen)
    np.testing.assert_array_equal(found.weight_CD, expected.weight_CD)
    np.testing.assert_array_equal(found.bias_C, expected.bias_C)
    assert not np.allclose(found.weight_CD, chosen.weight_CD)
    assert (found.strength, found.tried) == (chosen.strength, chosen.tried)


def test_validation_chooses_the_strength() -> None:
    head = solved(6)
    assert [row["strength"] for row in head.tried] == list(STRENGTHS)
    ranks = {r["strength"]: (r["validation_accuracy"], -r["validation_loss"]) for r in head.tried}
    assert head.strength == max(ranks, key=lambda strength: ranks[strength])
    assert len({row["validation_accuracy"] for row in head.tried}) > 1
    chosen = next(row for row in head.tried if row["strength"] == head.strength)
    other = problem(6, seed=1)
    accuracy = np.mean(logits(head, other.features_ND).argmax(1) == other.labels_N)
    assert accuracy == chosen["validation_accuracy"]
    losses = [row["loss"] for row in head.tried]
    assert losses == sorted(losses, reverse=True)  # less regularised, better fitted


def test_among_equals_the_least_validation_loss_is_taken() -> None:
    easy = LabelledFeatures(
        np.array([[-9.0], [-8.0], [8.0], [9.0]], np.float32), np.array([0, 0, 1, 1])
    )
    head = fit_exact_head(easy, easy, classes=2, strengths=(0.01, 1.0, 0.1))
    assert {row["validation_accuracy"] for row in head.tried} == {1.0}
    assert head.strength == 1.0


def test_it_is_deterministic_and_order_of_strengths_is_kept() -> None:
    one, other = solved(3), solved(3)
    np.testing.assert_array_equal(one.weight_CD, other.weight_CD)
    np.testing.assert_array_equal(one.bias_C, other.bias_C)
    assert one.tried == other.tried


@pytest.mark.parametrize("constant", [0.0, 1.0, -1e4, 1e-30])
def test_a_constant_feature_says_nothing(constant: float) -> None:
    def with_constant(seed: int, value: float) -> LabelledFeatures:
        x = problem(3, seed=seed)
        column = np.full((60, 1), value, np.float32)
        return LabelledFeatures(np.hstack([x.features_ND, column]), x.labels_N)

    plain = solved(3)
    head = fit_exact_head(
        with_constant(0, constant), with_constant(1, constant), classes=3, strengths=STRENGTHS
    )
    assert np.isfinite(head.weight_CD).all()
    np.testing.assert_allclose(head.weight_CD[:, -1], 0, atol=1e-12)
    np.testing.assert_allclose(head.weight_CD[:, :-1], plain.weight_CD, rtol=1e-5)


def test_few_iterations_are_obeyed_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        head = fit_exact_head(
            problem(6), problem(6, seed=1), classes=6, strengths=(10.0,), iterations=2
        )
    assert head.tried[0]["iterations"] == 2


def test_labels_and_features_are_left_as_they_are() -> None:
    train = problem(3)
    train.features_ND.flags.writeable = False
    before = train.features_ND.copy()
    fit_exact_head(train, problem(3, seed=1), classes=3, strengths=(1.0,))
    np.testing.assert_array_equal(train.features_ND, before)


def test_a_fresh_head_favours_no_class() -> None:
    torch.manual_seed(0)
    head = fresh_head(64, 10)
    assert head.bias.eq(0).all()
    assert head.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_a_given_head_is_copied() -> None:
    weight, bias = torch.ones(3, 2, dtype=torch.float64), torch.arange(3.0)
    head = head_from(weight, bias)
    weight.zero_()
    assert head.weight.dtype == torch.float32
    assert torch.equal(head(torch.ones(1, 2)), torch.tensor([[2.0, 3.0, 4.0]]))


def test_smoothing_spreads_its_mass_over_all_classes() -> None:
    logits_BC = torch.tensor([[2.0, 0.0, -1.0]])
    log_p = logits_BC.log_softmax(1)[0]
    expected = -(0.9 * log_p[0] + 0.1 * log_p.mean())
    (given,) = smoothed_cross_entropy(logits_BC, torch.tensor([0]), 0.1)
    torch.testing.assert_close(given, expected)
    (half,) = smoothed_cross_entropy(logits_BC.bfloat16(), torch.tensor([0]), 0.1)
    assert half.dtype == torch.float32
    assert correct(logits_BC.repeat(2, 1), torch.tensor([0, 1])).tolist() == [1, 0]
