"""What the verdict says for spaces whose answer is known."""

import numpy as np
import pytest
from clouds import simplex

from lacvit.metrics.geometry import geometry
from lacvit.metrics.verdict import isotropy_verdict

BEFORE = {"mean_cosine": 0.62, "iso_score": 0.2, "alignment": 0.5}


def said(after, **changes):
    how = {"classes": 10, "dimensions": 128, "trained_by": "contrastive training"} | changes
    return isotropy_verdict(BEFORE, after, **how)


@pytest.mark.parametrize(
    ("after", "cone", "spectrum", "together"),
    [
        ((0.03, 0.3), "more", "more", "by both readings"),
        ((0.03, 0.1), "more", "less", "by the cone, and not by the spectrum"),
        ((0.90, 0.3), "less", "more", "by the spectrum, and not by the cone"),
        ((0.90, 0.1), "less", "less", "by neither reading"),
        ((0.615, 0.203), "as", "as", "by neither reading"),
        ((-0.03, 0.2), "more", "as", "by the cone, and not by the spectrum"),
    ],
)
def test_each_reading_has_its_answer(after, cone, spectrum, together):
    words = {"more": "more isotropic", "less": "less isotropic", "as": "as isotropic as before"}
    first, second, third, fourth = said(
        {"mean_cosine": after[0], "iso_score": after[1], "alignment": 0.1}
    )
    assert first == (
        f"By the cone the embedding is {words[cone]} after contrastive training: the mean cosine "
        f"of two test images was 0.62 and is {after[0]:.2f} (0: no cone)."
    )
    assert second.startswith(f"By the spectrum it is {words[spectrum]}: IsoScore was 0.200 and is ")
    assert "evenly over all 128 directions" in second
    assert third.endswith(f"After contrastive training that holds here {together}.")
    assert "10 classes" in fourth
    assert "(C - 2) / (D - 1) = 0.063" in fourth
    assert "came nearer to one another: their mean cosine was 0.75 and is 0.95" in fourth


def test_opposite_cones_are_told_by_their_strength():
    assert "less isotropic" in said({"mean_cosine": -0.7, "iso_score": 0.2})[0]


@pytest.mark.parametrize(
    ("alignment", "moved"), [(0.5, "stayed as near"), (0.9, "moved apart"), (0.1, "came nearer")]
)
def test_it_says_whether_classes_tightened(alignment, moved):
    assert moved in said({"mean_cosine": 0.1, "iso_score": 0.2, "alignment": alignment})[3]


@pytest.mark.parametrize("changes", [{"classes": 130}, {}])
def test_without_room_or_pairs_nothing_is_said_of_tight_classes(changes):
    after = {"mean_cosine": 0.1, "iso_score": 0.2} | ({"alignment": 0.1} if changes else {})
    assert len(said(after, **changes)) == 3


def test_an_untouched_encoder_claims_nothing():
    (sentence,) = said(None)
    assert "as it was pretrained" in sentence
    assert "0.62" in sentence
    assert "0.200" in sentence


@pytest.mark.parametrize("missing", ["mean_cosine", "iso_score"])
def test_no_verdict_without_its_figures(missing):
    rest = {name: value for name, value in BEFORE.items() if name != missing}
    assert said(rest) == ()
    assert isotropy_verdict(rest, None, classes=3, dimensions=9) == ()


def test_collapse_onto_a_simplex_from_a_cone_splits_the_readings():
    """The case that the two readings were told apart for."""
    labels = np.repeat(np.arange(10), 20)
    cloud = np.random.default_rng(0).normal(size=(200, 64)) + 2
    before, after = geometry(cloud, labels), geometry(simplex(10, 20, 64), labels)
    words = isotropy_verdict(before, after, classes=10, dimensions=64)
    assert "more isotropic" in words[0]
    assert "less isotropic" in words[1]
    assert words[2].endswith("by the cone, and not by the spectrum.")
    simplex_score = float(words[3].split("= ")[1].split(".  ")[0][:5])
    assert simplex_score == pytest.approx(after["iso_score"], abs=5e-4)
