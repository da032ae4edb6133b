"""Spectra, cosines of pairs and reliability: what is drawn is what was measured."""

import numpy as np
import pytest

from lacvit.metrics.geometry import geometry
from lacvit.metrics.quality import quality
from lacvit.report import evidence_plots as plots
from lacvit.report import theme, words
from lacvit.report.evidence import calibration_section, geometry_section
from lacvit.report.frames import single
from lacvit.report.measures import GEOMETRY, QUALITY
from lacvit.report.record import (
    Bins,
    Calibration,
    Embeddings,
    EvaluationRecord,
    Predictions,
)

LABELS = np.arange(60) % 3


def drawn(pull=1.0, d=8):
    random = np.random.default_rng(0)
    return (pull * random.normal(size=(3, d))[LABELS] + random.normal(size=(60, d)) + 1).astype(
        "f4"
    )


def record(features=None, figures=None, calibration=None):
    names = ("a", "b", "c")
    figures = (
        {"untouched": {"geometry": {"iso_score": 0.1234}, "quality": {}}}
        if figures is None
        else figures
    )
    return EvaluationRecord(
        scores={},
        per_class=(),
        predictions=Predictions(names, LABELS, LABELS),
        mistakes=(),
        features=features or {},
        embeddings=Embeddings(60, 60, figures, ("A sentence.",)),
        calibration=calibration,
    )


def test_every_measure_has_its_meaning():
    x = drawn()
    found = geometry(x, LABELS, reference_ND=x, extended=True)
    assert {name for name in found if not name.endswith("_error")} <= GEOMETRY.keys()
    worth = quality(x, LABELS, x, LABELS, extended=True)
    assert {name for name in worth if not name.endswith("_error")} <= QUALITY.keys()


@pytest.mark.parametrize("n", [5, 60])
def test_singular_values_are_numpys(n):
    x = drawn()[:n]
    expected = np.linalg.svd(x - x.mean(0), compute_uv=False)
    found = plots.singular_values(x)
    np.testing.assert_allclose(found[: len(expected)], expected / expected[0], atol=1e-3)
    assert not plots.singular_values(np.ones((5, 3))).any()


def test_cosines_are_those_of_all_pairs(monkeypatch):
    features = {"untouched": drawn(0.1), "contrastive": drawn(4.0)}
    found = plots.cosines(features, LABELS)
    for name, x in features.items():
        measured = geometry(x, LABELS, extended=True)
        assert found[name].means == pytest.approx(
            (measured["cosine_within"], measured["cosine_between"]), abs=1e-5
        )
        assert found[name].within.sum() == pytest.approx(1)
        assert found[name].between.sum() == pytest.approx(1)
        np.testing.assert_array_equal(found[name].edges, found["untouched"].edges)
    monkeypatch.setattr(plots, "COSINE_IMAGES", 20)
    assert plots.cosines(features, LABELS)["untouched"].means != found["untouched"].means
    assert plots.cosines(features, np.zeros(60, int)) == {}


def test_the_section_has_a_panel_a_question(tmp_path):
    groups = {
        "geometry": {"mean_cosine": -0.0001, "iso_score": 0.5, "odd": 12345.678},
        "quality": {},
    }
    figures = {
        "untouched": {"geometry": {"iso_score": 0.1234}, "quality": {"knn_1": 0.5}},
        "joint": groups,
    }
    features = {"untouched": drawn(0.1), "joint": drawn(4.0)}
    found = geometry_section(record(features, figures), tmp_path)
    assert found.encoders == ("Pretrained, untouched", "After joint training")
    assert [(row.title, row.values) for row in found.geometry] == [
        ("Mean cosine", ("", "0.000")),
        ("IsoScore", ("0.123", "0.500")),
        ("odd", ("", "12,345.7")),
    ]
    assert found.quality[0].values == ("50.0\u202f%", "")
    assert len(found.panels) == 3
    assert ">before<" in found.panels[0].svg
    assert "After joint training: cosines of pairs of test images; within" in found.panels[2].svg
    assert (tmp_path / "geometry.png").is_file()


@pytest.mark.parametrize("features", [{}, {"untouched": np.ones((60, 4), "f4")}])
def test_without_features_worth_drawing_the_table_stays(features, tmp_path):
    found = geometry_section(record(features), tmp_path)
    assert found.panels == ()
    assert found.geometry[0].values == ("0.123",)
    nothing = {"untouched": {"geometry": {}, "quality": {}}}
    assert geometry_section(record(figures=nothing), tmp_path) is None


def bins(accuracy):
    counts, confidence = np.array([0.0, 10, 30]), np.array([0, 0.5, 0.9])
    return Bins(np.linspace(0, 1, 4), counts, confidence, np.array(accuracy))


@pytest.mark.parametrize(
    ("temperature", "panels", "said"),
    [
        (1.0, 1, "as the head was trained"),
        (1.7, 2, "was too sure"),
        (0.6, 2, "was not sure enough"),
    ],
)
def test_reliability_is_told_before_and_after(temperature, panels, said, tmp_path):
    scores = {"ece": (0.2, 0.05), "brier": (0.4, 0.3), "nll": (1.0, 0.8)}
    calibration = Calibration(temperature, bins([0, 0.2, 0.8]), bins([0, 0.5, 0.9]), scores)
    found = calibration_section(record(calibration=calibration), tmp_path)
    assert len(found.panels) == panels
    assert said in found.sentence
    assert "off by 5.0 %" in found.panels[-1].svg
    assert next(row.values for row in found.rows) == ("0.200", "0.050")
    assert (tmp_path / "reliability.png").is_file()


def test_empty_bins_are_not_drawn():
    with theme.drawing():
        figure = single(
            lambda axes: plots.draw_reliability(axes, bins([0, 0.2, 0.8])), plots.SQUARE
        )
    points = figure.axes[0].collections[-1].get_offsets()
    np.testing.assert_allclose(points, [[0.5, 0.2], [0.9, 0.8]])


def test_numbers_keep_their_sign_and_no_negative_zero():
    assert words.decimals(-0.0002) == "0.000"
    assert words.decimals(-3.1234) == "\u22123.123"
