"""What every measure of an embedding shares: what must not move it, and what it refuses."""

from dataclasses import astuple

import numpy as np
import pytest
from clouds import classes

from lacvit.errors import InputError
from lacvit.metrics import (
    _passes,
    collapse,
    cone,
    dimension,
    hubness,
    separation,
    similarity,
    spectrum,
    uniformity,
)
from lacvit.metrics.clustering import clustering
from lacvit.metrics.geometry import geometry
from lacvit.metrics.neighbours import knn_accuracies, nearest_rows
from lacvit.metrics.retrieval import retrieval

LABELS = classes(0)[1]


def labels_of(x):
    return LABELS[: len(x)]


def values(found):
    """The values of a dataclass of estimates."""
    return [estimate.value for estimate in vars(found).values()]


MEASURES = {
    "mean_cosine": cone.mean_cosine,
    "mean_cosine centred": lambda x: cone.mean_cosine(x, centre=True),
    "cosine_within_and_between": lambda x: cone.cosine_within_and_between(x, labels_of(x)),
    "partition_isotropy": cone.partition_isotropy,
    "effective_rank": spectrum.effective_rank,
    "effective_rank uncentred": lambda x: spectrum.effective_rank(x, centre=False),
    "rank_me": spectrum.rank_me,
    "participation_ratio": spectrum.participation_ratio,
    "iso_score": spectrum.iso_score,
    "iso_score within": lambda x: spectrum.iso_score(x, labels_of(x)),
    "iso_score_star": lambda x: spectrum.iso_score_star(x, shrinkage=0.3),
    "alignment": lambda x: uniformity.alignment(x, labels_of(x)),
    "uniformity": lambda x: uniformity.uniformity(x).value,
    "neural_collapse": lambda x: astuple(collapse.neural_collapse(x, labels_of(x)))[:6],
    "class_separation": lambda x: separation.class_separation(x, labels_of(x)),
    "silhouette": lambda x: separation.silhouette(x, labels_of(x)).value,
    "linear_cka": lambda x: similarity.linear_cka(x, x[::-1]),
    "linear_cka debiased": lambda x: similarity.linear_cka(x, x[::-1], debiased=True),
    "intrinsic_dimension": lambda x: values(dimension.intrinsic_dimension(x, k=3)),
}
# Of neighbours alone: float32 is what they are computed in.
BY_NEIGHBOURS = {
    "hubness": lambda x: values(hubness.hubness(x, k=2)),
    "retrieval": lambda x: values(retrieval(x, labels_of(x))),
    "nearest_rows": lambda x: nearest_rows(x, x[:9], k=2).cosine_NK.sum(),
}
OFF_CENTRE = [
    "mean_cosine centred", "effective_rank", "participation_ratio", "iso_score", "iso_score within",
    "iso_score_star", "neural_collapse", "linear_cka", "linear_cka debiased", "intrinsic_dimension",
]  # fmt: skip
ALL = MEASURES | BY_NEIGHBOURS


def cloud(shape=(90, 12), seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=shape) * np.geomspace(1, 0.1, shape[1]) + random.normal(size=shape[1])


@pytest.mark.parametrize("shape", [(90, 12), (30, 40)])
@pytest.mark.parametrize("name", ALL)
def test_rotation_and_scale_move_nothing(name, shape):
    x = cloud(shape)
    d = shape[1]
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(d, d)))[0]
    assert ALL[name](1e-3 * x @ rotation) == pytest.approx(ALL[name](x), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("shape", [(90, 12), (30, 40)])
@pytest.mark.parametrize("name", OFF_CENTRE)
def test_an_offset_moves_only_what_it_should(name, shape):
    x = cloud(shape)
    assert ALL[name](x + 3) == pytest.approx(ALL[name](x), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_the_size_of_a_block_moves_nothing(name, monkeypatch):
    x = cloud()
    whole = ALL[name](x)
    monkeypatch.setattr(_passes, "ROWS", 7)
    monkeypatch.setattr(uniformity, "ROWS", 7)
    assert ALL[name](x) == pytest.approx(whole, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
@pytest.mark.parametrize("name", ALL)
def test_the_scale_of_the_input_cannot_overflow(name, scale):
    x = cloud()
    assert ALL[name](scale * x) == pytest.approx(ALL[name](x), rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("name", MEASURES)
def test_the_arithmetic_is_in_float64(name, dtype):
    x = cloud().astype(dtype)
    assert MEASURES[name](x) == MEASURES[name](x.astype(np.float64))


@pytest.mark.parametrize("name", ALL)
def test_faults_are_named(name):
    good = cloud()
    bad = good.copy()
    bad[1, 2] = np.nan
    with pytest.raises(InputError, match=r"features: row 1 of 90 is not finite \(1 such rows\)"):
        ALL[name](bad)
    with pytest.raises(InputError, match=r"features have shape \(9,\); expected \(N, D\)"):
        ALL[name](np.ones(9))
    with pytest.raises(InputError, match="features are int64; expected a floating dtype"):
        ALL[name](np.ones((90, 2), dtype=int))


TWO_ROWS = [name for name in MEASURES if name not in ("partition_isotropy", "linear_cka debiased",
            "intrinsic_dimension")]  # fmt: skip


@pytest.mark.parametrize("name", TWO_ROWS)
def test_one_row_is_too_few(name):
    with pytest.raises(InputError, match="features have 1 rows; at least 2 are needed"):
        MEASURES[name](np.ones((1, 4)))


@pytest.mark.parametrize(
    "measure",
    [
        cone.cosine_within_and_between,
        spectrum.iso_score,
        uniformity.alignment,
        collapse.neural_collapse,
        separation.class_separation,
        separation.silhouette,
        retrieval,
        clustering,
        geometry,
        lambda x, labels: knn_accuracies(x, LABELS, x, labels),
    ],
)
def test_labels_have_one_entry_a_row(measure):
    with pytest.raises(InputError, match=r"90 rows but labels of shape \(89,\); expected \(90,\)"):
        measure(cloud(), LABELS[:-1])


@pytest.mark.parametrize(
    "measure",
    [collapse.neural_collapse, separation.class_separation, separation.silhouette, clustering],
)
def test_one_class_is_too_few(measure):
    with pytest.raises(InputError, match="the labels name 1 class; at least 2 are needed"):
        measure(cloud(), np.zeros(90))
