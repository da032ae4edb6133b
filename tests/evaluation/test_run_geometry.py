"""geometry.json: what is measured of which encoder, and what is left out."""

import json

import numpy as np
import pytest

from lacvit.evaluation import geometry as module
from lacvit.evaluation.geometry import Embedding, measure_embeddings
from lacvit.metrics.collapse import LinearHead
from lacvit.metrics.geometry import geometry
from lacvit.metrics.quality import quality

CLASSES, DIMENSIONS = 4, 12
DEFAULT = {
    "mean_cosine", "mean_cosine_centred", "iso_score", "iso_score_within", "alignment",
    "uniformity", "cdnv", "hubness_skewness",
}  # fmt: skip
QUALITY = {
    "knn_1", "knn_5", "knn_20", "nearest_class_mean", "recall_at_1", "recall_at_10", "map_at_r",
}  # fmt: skip


def drawn(seed, pull, n=80, t=40):
    random = np.random.default_rng(seed)
    centres = random.normal(size=(CLASSES, DIMENSIONS))
    labels = np.arange(n) % CLASSES

    def rows(count):
        noise = random.normal(size=(count, DIMENSIONS))
        return (pull * centres[np.arange(count) % CLASSES] + noise + 1).astype(np.float32)

    return Embedding(rows(n), rows(t)), labels, np.arange(t) % CLASSES


@pytest.fixture
def both():
    untouched, labels, train_labels = drawn(0, 0.3)
    return {"untouched": untouched, "contrastive": drawn(1, 3.0)[0]}, labels, train_labels


def test_each_encoder_has_the_figures_of_its_functions(both):
    embeddings, labels, train_labels = both
    found = measure_embeddings(embeddings, labels, train_labels)
    before, after = embeddings["untouched"], embeddings["contrastive"]
    expected = {
        "untouched": geometry(before.test_ND, labels),
        "contrastive": geometry(after.test_ND, labels, reference_ND=before.test_ND),
    }
    assert list(found["embeddings"]) == ["untouched", "contrastive"]
    for name, figures in found["embeddings"].items():
        part = embeddings[name]
        assert figures == {
            "geometry": expected[name],
            "quality": quality(part.train_TD, train_labels, part.test_ND, labels),
        }
    assert found["embeddings"]["untouched"]["geometry"].keys() == DEFAULT
    assert found["embeddings"]["contrastive"]["geometry"].keys() == DEFAULT | {"cka"}
    assert found["embeddings"]["untouched"]["quality"].keys() == QUALITY
    assert (found["images"], found["of"], found["classes"]) == (80, 80, CLASSES)
    assert len(found["verdict"]) == 4
    assert "after contrastive training" in found["verdict"][0]
    assert json.loads(json.dumps(found)) == found


def test_the_extended_set_knows_the_head(both):
    embeddings, labels, train_labels = both
    random = np.random.default_rng(2)
    head = LinearHead(random.normal(size=(CLASSES, DIMENSIONS)), random.normal(size=CLASSES))
    found = measure_embeddings(embeddings, labels, train_labels, head=head, extended=True)
    before, after = found["embeddings"].values()
    assert {"effective_rank", "nc1", "silhouette"} <= before["geometry"].keys()
    assert "nc3" not in before["geometry"]  # the head is on the trained encoder's features
    assert {"nc3", "nc4"} <= after["geometry"].keys()
    assert {"few_shot_5", "nmi"} <= after["quality"].keys()


def test_an_untouched_encoder_alone_is_measured(both):
    embeddings, labels, train_labels = both
    found = measure_embeddings({"untouched": embeddings["untouched"]}, labels, train_labels)
    assert list(found["embeddings"]) == ["untouched"]
    assert "as it was pretrained" in found["verdict"][0]


def test_many_images_are_sampled_alike(both, monkeypatch):
    monkeypatch.setattr(module, "MOST_TEST", 30)
    embeddings, labels, train_labels = both
    found = measure_embeddings(embeddings, labels, train_labels)
    rows = module.chosen_rows(80, 30)
    assert len(set(rows.tolist())) == 30
    expected = geometry(embeddings["untouched"].test_ND[rows], labels[rows])
    assert found["embeddings"]["untouched"]["geometry"] == expected
    assert (found["images"], found["of"]) == (30, 80)


@pytest.mark.parametrize(
    ("spoil", "group", "reason"),
    [
        (lambda e: Embedding(e.test_ND[:1], e.train_TD), "geometry", "1 row"),
        (lambda e: Embedding(e.test_ND * 0, e.train_TD), "geometry", "row 0"),
        (lambda e: Embedding(e.test_ND, e.train_TD * 0), "quality", "row 0"),
    ],
)
def test_what_cannot_be_measured_is_left_out_with_its_reason(spoil, group, reason):
    embedding, labels, train_labels = drawn(0, 1.0)
    spoilt = spoil(embedding)
    found = measure_embeddings(
        {"untouched": spoilt, "joint": spoilt}, labels[: len(spoilt.test_ND)], train_labels
    )
    for figures in found["embeddings"].values():
        assert figures[group] == {}
        assert reason in figures["left_out"][group]
    assert len(found["verdict"]) == (0 if group == "geometry" else 4)


def test_two_classes_of_one_image_are_no_fault():
    embedding, _, train_labels = drawn(0, 1.0, n=2, t=2)
    found = measure_embeddings({"untouched": embedding}, np.arange(2), train_labels)
    figures = found["embeddings"]["untouched"]
    assert {"mean_cosine", "iso_score"} <= figures["geometry"].keys()
    assert not {"alignment", "hubness_skewness"} & figures["geometry"].keys()
    assert "recall_at_1" not in figures["quality"]
    json.dumps(found, allow_nan=False)
