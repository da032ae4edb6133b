import tracemalloc
from functools import partial

import numpy as np
import pytest
from clouds import classes, simplex

from lacvit.errors import InputError
from lacvit.metrics import cone, dimension, hubness, separation, similarity, spectrum, uniformity
from lacvit.metrics import geometry as geometry_module
from lacvit.metrics.collapse import LinearHead, neural_collapse
from lacvit.metrics.geometry import SHRINKAGE, geometry

DEFAULT = {
    "mean_cosine", "mean_cosine_centred", "iso_score", "iso_score_within", "alignment",
    "uniformity", "cdnv", "hubness_skewness", "cka",
}  # fmt: skip


def test_every_figure_is_that_of_its_function():
    x, labels = classes(0, n=120)
    reference = classes(1, n=120)[0]
    random = np.random.default_rng(0)
    head = LinearHead(random.normal(size=(4, 12)), random.normal(size=4))
    collapse = neural_collapse(x, labels, head=head)
    hubs, inner = hubness.hubness(x), dimension.intrinsic_dimension(x)
    within, between = cone.cosine_within_and_between(x, labels)
    expected = vars(collapse) | {
        "mean_cosine": cone.mean_cosine(x),
        "mean_cosine_centred": cone.mean_cosine(x, centre=True),
        "cosine_within": within,
        "cosine_between": between,
        "partition_isotropy": cone.partition_isotropy(x),
        "iso_score": spectrum.iso_score(x),
        "iso_score_within": spectrum.iso_score(x, labels),
        "iso_score_star": spectrum.iso_score_star(x, shrinkage=SHRINKAGE),
        "participation_ratio": spectrum.participation_ratio(x),
        "participation_ratio_within": spectrum.participation_ratio(x, labels),
        "effective_rank": spectrum.effective_rank(x),
        "rank_me": spectrum.rank_me(x),
        "alignment": uniformity.alignment(x, labels),
        "uniformity": uniformity.uniformity(x).value,
        "class_separation": separation.class_separation(x, labels),
        "silhouette": separation.silhouette(x, labels).value,
        "cka": similarity.linear_cka(x, reference, debiased=True),
        "cka_biased": similarity.linear_cka(x, reference),
        "hubness_skewness": hubs.skewness.value,
        "hubness_robin_hood": hubs.robin_hood.value,
        "antihubs": hubs.antihubs.value,
        "dimension_mle": inner.mle.value,
        "dimension_two_nn": inner.two_nn.value,
    }
    found = geometry(x, labels, reference_ND=reference, head=head, extended=True)
    assert found == pytest.approx(expected)
    short = geometry(x, labels, reference_ND=reference)
    assert short.keys() == DEFAULT
    assert short == pytest.approx({name: expected[name] for name in DEFAULT})


def test_tight_classes_and_isotropy_pull_apart():
    """At the optimum of the contrastive loss the cone is gone and the spectrum is poor."""
    found = geometry(simplex(10, 20, 64), np.repeat(np.arange(10), 20))
    assert found["mean_cosine"] == pytest.approx(-1 / 199)
    assert found["iso_score"] == pytest.approx(8 / 63)
    assert found["alignment"] == found["cdnv"] == pytest.approx(0)


@pytest.mark.parametrize("reference", [None, np.ones((30, 3))])
def test_what_is_not_defined_is_left_out(reference):
    one_class = geometry(np.eye(30) + 0.1, np.zeros(30), reference_ND=reference, extended=True)
    assert {"mean_cosine", "iso_score", "alignment"} <= one_class.keys()
    assert not {"cdnv", "nc1", "silhouette", "cosine_between", "cka"} & one_class.keys()
    collapsed = geometry(np.ones((30, 4)), np.arange(30) % 3, reference_ND=reference, extended=True)
    assert collapsed["mean_cosine"] == pytest.approx(1)
    assert not {"mean_cosine_centred", "cdnv", "nc1", "cka", "dimension_mle"} & collapsed.keys()
    assert np.isfinite([*one_class.values(), *collapsed.values()]).all()
    few = geometry(np.eye(3), np.arange(3), extended=True)
    assert not {"hubness_skewness", "alignment", "dimension_mle"} & few.keys()


def test_sampled_figures_come_with_their_error(monkeypatch):
    x, labels = classes(0, n=300, d=4)
    monkeypatch.setattr(uniformity, "EXACT_ROWS", 100)
    few_pairs = partial(uniformity.uniformity, pairs=500)
    monkeypatch.setattr(geometry_module, "uniformity", few_pairs)
    found = geometry(x, labels, seed=4)
    assert found.keys() == DEFAULT - {"cka"} | {"uniformity_error"}
    other = geometry(x, labels, seed=5)
    assert found["uniformity"] == few_pairs(x, seed=4).value != other["uniformity"]


def test_the_input_is_neither_copied_nor_changed():
    x = np.random.default_rng(0).normal(size=(60_000, 32)).astype(np.float32)
    x.flags.writeable = False
    labels = np.arange(60_000) % 10
    tracemalloc.start()
    spectrum.iso_score(x, labels)
    cone.mean_cosine(x, centre=True)
    similarity.linear_cka(x, x, debiased=True)
    cone.partition_isotropy(x)
    uniformity.uniformity(x, pairs=1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes / 2  # the rows in float64 are twice x.nbytes


def test_faults_are_named():
    x, labels = classes(0)
    with pytest.raises(InputError, match="features: row 0 of 90 is all zeros"):
        geometry(x * (np.arange(90) > 0)[:, None], labels)
    with pytest.raises(InputError, match="reference features 89"):
        geometry(x, labels, reference_ND=x[:-1])
    with pytest.raises(InputError, match="IsoScore needs at least 2"):
        geometry(x[:, :1], labels)
