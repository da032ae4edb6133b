import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lacvit.errors import InputError
from lacvit.metrics import neighbours
from lacvit.metrics._passes import unit_rows
from lacvit.metrics.neighbours import (
    knn_accuracies,
    knn_accuracy,
    knn_predict,
    largest_products,
    nearest_rows,
)


def dense_prediction(train, train_labels, queries, k, temperature):
    """One query at a time, sorted in full: the definition."""
    unit = train / np.linalg.norm(train, axis=1, keepdims=True)
    predictions = []
    for query in queries:
        cosines = unit @ (query / np.linalg.norm(query))
        nearest = np.argsort(-cosines)[:k]
        votes = {
            label: sum(
                np.exp(cosines[i] / temperature) for i in nearest if train_labels[i] == label
            )
            for label in np.unique(train_labels)
        }
        predictions.append(max(votes, key=votes.get))
    return np.array(predictions)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_train=st.integers(1, 60),
    n=st.integers(0, 40),
    k=st.integers(1, 70),
    temperature=st.sampled_from([0.03, 0.07, 1.0, 10.0]),
    tile=st.integers(1, 70),
)
def test_tiles_equal_the_definition(seed, n_train, n, k, temperature, tile):
    random = np.random.default_rng(seed)
    train, queries = random.normal(size=(n_train, 5)), random.normal(size=(n, 5))
    train_labels = random.integers(-3, 4, size=n_train)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "TRAIN_TILE", tile)
        patch.setattr(neighbours, "QUERY_TILE", max(1, tile // 2))
        got = knn_predict(train, train_labels, queries, k=k, temperature=temperature)
    np.testing.assert_array_equal(
        got, dense_prediction(train, train_labels, queries, k, temperature)
    )


@pytest.mark.parametrize("k", [4, 70])
@pytest.mark.parametrize("tile", [2, 16, 1000])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("order", [1, -1])
def test_nearest_rows_equal_the_full_matrix(k, tile, own, order, monkeypatch):
    """Rows sorted by their likeness to the queries are the worst case of keeping candidates."""
    random = np.random.default_rng(0)
    train = random.normal(size=(40, 5)) + 0.5
    train = train[np.argsort(order * train.sum(axis=1))]
    queries = train if own else random.normal(size=(30, 5)) + 0.5
    monkeypatch.setattr(neighbours, "TRAIN_TILE", tile)
    monkeypatch.setattr(neighbours, "QUERY_TILE", max(1, tile // 2))
    cosines = (queries / np.linalg.norm(queries, axis=1)[:, None]) @ (
        train / np.linalg.norm(train, axis=1)[:, None]
    ).T
    if own:
        np.fill_diagonal(cosines, -np.inf)
    rows = np.argsort(-cosines, axis=1)[:, : min(k, 40 - own)]
    gallery, asked = unit_rows(train), unit_rows(queries)
    found = largest_products(gallery, asked, rows.shape[1], own=own)
    np.testing.assert_array_equal(found.row_NK, rows)
    np.testing.assert_allclose(found.cosine_NK, np.take_along_axis(cosines, rows, axis=1))


def test_copies_are_neighbours_of_each_other_and_not_of_themselves():
    same = np.ones((5, 3), dtype=np.float32)
    found = largest_products(same, same, 4, own=True)
    np.testing.assert_array_equal(
        np.sort(found.row_NK, axis=1), [np.delete(np.arange(5), i) for i in range(5)]
    )


def test_several_k_from_one_search():
    random = np.random.default_rng(0)
    train, queries = random.normal(size=(2, 100, 6))
    train_labels, labels = random.integers(0, 3, size=(2, 100))
    found = knn_accuracies(train, train_labels, queries, labels, ks=(1, 7, 200))
    assert found == {
        k: knn_accuracy(train, train_labels, queries, labels, k=k) for k in (1, 7, 200)
    }


def test_each_row_is_its_own_nearest_neighbour():
    random = np.random.default_rng(0)
    features = random.normal(size=(200, 8)).astype(np.float32)
    labels = random.integers(0, 5, size=200)
    assert knn_accuracy(features, labels, 1e-30 * features, labels, k=1) == 1.0
    assert knn_accuracy(features, labels, -features, labels, k=1) < 1.0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_labels_may_be_names_and_a_vote_outweighs_a_crowd(dtype):
    train = np.array([[1, 0], [0.6, 0.8], [0.6, 0.8]], dtype=dtype)
    names = np.array(["cat", "dog", "dog"])
    query = np.array([[1, 0.1]], dtype=dtype)
    assert knn_predict(train, names, query).tolist() == ["cat"]
    assert knn_predict(train, names, query, temperature=10).tolist() == ["dog"]


@pytest.mark.parametrize("temperature", [1e-6, 1e6])
def test_extreme_temperatures_stay_finite(temperature):
    train = np.eye(3)
    predictions = knn_predict(train, np.arange(3), train, k=3, temperature=temperature)
    np.testing.assert_array_equal(predictions, [0, 1, 2])


def test_no_full_matrix_is_built():
    random = np.random.default_rng(0)
    train = random.normal(size=(12_000, 4)).astype(np.float32)
    queries = random.normal(size=(2_000, 4)).astype(np.float32)
    labels = np.arange(12_000) % 3
    tracemalloc.start()
    knn_predict(train, labels, queries)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12_000 * 2_000 * 4 / 3  # the matrix alone is 96 MB; measured: 26 MB


ROWS, NUMBERS = np.ones((4, 3)), np.arange(4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: knn_predict(ROWS, NUMBERS, np.zeros((1, 3))), "row 0 of 1 is all zeros"),
        (lambda: knn_predict(ROWS * np.nan, NUMBERS, ROWS), "training features: row 0 of 4 is not"),
        (lambda: knn_predict(ROWS, NUMBERS[:3], ROWS), r"4 training rows .* shape \(3,\)"),
        (lambda: knn_predict(ROWS[:0], NUMBERS[:0], ROWS), "at least one row"),
        (lambda: knn_predict(ROWS, NUMBERS, np.ones((2, 5))), "3 dimensions and features 5"),
        (lambda: knn_predict(ROWS, NUMBERS, ROWS, k=0), "k is 0"),
        (lambda: knn_predict(ROWS, NUMBERS, ROWS, temperature=0), "temperature 0"),
        (lambda: knn_predict(ROWS, NUMBERS, NUMBERS), r"features have shape \(4,\)"),
        (lambda: knn_predict(ROWS, NUMBERS, ROWS.astype(int)), "features are int64"),
        (lambda: knn_accuracy(ROWS, NUMBERS, ROWS, NUMBERS[:2]), r"labels of shape \(2,\)"),
        (lambda: nearest_rows(ROWS, ROWS, k=0), "k is 0; expected k >= 1"),
        (lambda: nearest_rows(ROWS[:0], ROWS, k=1), "0 training rows; expected at least one"),
    ],
)
def test_faults_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
