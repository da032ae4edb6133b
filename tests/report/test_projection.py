import numpy as np
import pytest

from lacvit.report.projection import planes, principal_components
from lacvit.report.rows import agreement, unit_rows, variances


def clusters(images=90, classes=3, pull=3.0, dimensions=8, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    centres = generator.normal(size=(classes, dimensions))
    return pull * centres[labels] + generator.normal(size=(images, dimensions)), labels


def test_principal_components_are_those_of_the_svd():
    rows, _ = clusters()
    points, share = principal_components(rows, 2)
    left, scale, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(points), np.abs(left[:, :2] * scale[:2]), rtol=1e-9)
    assert share == pytest.approx((scale[:2] ** 2).sum() / (scale**2).sum())


def test_one_dimension_is_a_line():
    points, share = principal_components(np.arange(5.0)[:, None], 2)
    assert points.shape == (5, 2)
    assert share == pytest.approx(1)


def test_neighbours_agree_on_labels_in_all_dimensions(monkeypatch):
    rows = unit_rows(np.array([[1, 0], [2, 0.2], [0, 1], [0.1, 1], [0, 0]]))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 1, 1, 1, 0])
    cosines = rows[:4] @ rows[:4].T
    # Two of a class have one other each to find, and three two.
    assert agreement(cosines, np.array([0, 0, 1, 1])).tolist() == [1, 1, 1, 1]
    assert agreement(cosines, np.array([0, 0, 0, 1])).tolist() == [0.5, 0.5, 0.5, 0]
    monkeypatch.setattr("lacvit.report.rows.JUDGED", 1)
    assert agreement(cosines, np.array([0, 0, 1, 1])).tolist() == [1, 1, 1, 1]
    assert agreement(cosines, np.array([0, 1, 0, 1])).tolist() == [0, 0, 0, 0]
    assert np.isnan(agreement(cosines[:1, :1], np.array([0]))).all()


@pytest.mark.parametrize("shape", [(9, 4), (4, 9)])
def test_variances_are_those_of_the_singular_values(shape):
    rows = np.random.default_rng(0).normal(size=shape)
    singular = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)
    np.testing.assert_allclose(variances(rows), singular**2, atol=1e-12)


def test_panels_show_the_same_images_and_repeat_exactly():
    rows, labels = clusters()
    features = {"untouched": rows, "contrastive": 2 * rows + 1}
    linear, neighbour = planes(features, labels)
    assert [plane.name for plane in linear] == ["untouched", "contrastive"]
    assert [plane.name for plane in neighbour] == ["untouched", "contrastive"]
    np.testing.assert_array_equal(linear[0].labels_N, linear[1].labels_N)
    again, _ = planes(features, labels)
    np.testing.assert_array_equal(linear[1].points_N2, again[1].points_N2)


def test_a_mirrored_panel_is_turned_back():
    rows, labels = clusters()
    linear, _ = planes({"untouched": rows, "contrastive": -rows}, labels)
    np.testing.assert_allclose(linear[1].points_N2, linear[0].points_N2, atol=1e-9)


@pytest.mark.parametrize("rows", [np.zeros((20, 4)), np.ones((20, 4)), np.full((20, 4), np.nan)])
def test_a_collapsed_encoder_is_one_point(rows):
    linear, neighbour = planes({"contrastive": rows}, np.arange(20) % 2)
    assert np.abs(linear[0].points_N2).max() < 1e-6
    assert np.abs(neighbour[0].points_N2).max() < 1e-6
    assert linear[0].variance < 1 + 1e-9


def test_few_images_have_no_tsne():
    rows, labels = clusters(images=6)
    linear, neighbour = planes({"untouched": rows}, labels)
    assert len(linear) == 1
    assert neighbour == []
