import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import noise

from lacvit.data.records import ImageRecords, records_from_arrays
from lacvit.data.splits import Fold, Splits, make_splits, split_manifest
from lacvit.errors import InputError

PIXELS = noise()


def records(counts: list[int], name: str = "image") -> ImageRecords:
    labels = np.repeat(np.arange(len(counts)), counts)
    names = [f"class{i}" for i in range(len(counts))]
    return records_from_arrays([PIXELS] * len(labels), labels, names, name=name)


def assert_partition(splits: Splits, whole: ImageRecords) -> None:
    """Every image in exactly one split, with its label, in the order of the whole."""
    paths = [path for _, part in splits.items() for path in part.paths]
    assert sorted(paths) == sorted(whole.paths)
    label = dict(zip(whole.paths, whole.labels, strict=True))
    place = {path: i for i, path in enumerate(whole.paths)}
    for _, part in splits.items():
        assert [label[path] for path in part.paths] == part.labels.tolist()
        assert [place[path] for path in part.paths] == sorted(place[path] for path in part.paths)


def error_of(*arguments, **options) -> str:
    with pytest.raises(InputError) as caught:
        make_splits(*arguments, **options)
    return str(caught.value)


def test_a_set_without_splits_gives_64_16_20():
    whole = records([50, 100])
    splits = make_splits({"all": whole})
    assert splits.test.counts().tolist() == [10, 20]
    assert splits.validation.counts().tolist() == [8, 16]
    assert splits.train.counts().tolist() == [32, 64]
    assert splits.class_names == ("class0", "class1")
    assert_partition(splits, whole)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    counts=st.lists(st.integers(3, 30), min_size=2, max_size=5),
    validation=st.floats(0.01, 0.99),
    test=st.floats(0.01, 0.99),
    seed=st.integers(0, 1000),
)
def test_every_class_is_in_every_split(counts, validation, test, seed):
    whole = records(counts)
    splits = make_splits(
        {"all": whole}, validation_fraction=validation, test_fraction=test, split_seed=seed
    )
    assert_partition(splits, whole)
    for _, part in splits.items():
        assert (part.counts() >= 1).all()
    expected = np.clip(np.floor(np.array(counts) * test + 0.5), 1, np.array(counts) - 2)
    np.testing.assert_array_equal(splits.test.counts(), expected)


def test_own_splits_are_taken_as_they_are():
    by_split = {name: records([2, 3], name) for name in ("train", "validation", "test")}
    splits = make_splits(by_split)
    for name, part in splits.items():
        assert part is by_split[name]


def test_where_every_image_trains_some_are_watched():
    whole = records([10, 1])
    splits = make_splits({"all": whole}, validation_fraction=0, test_fraction=0)
    assert splits.train.paths == whole.paths
    assert splits.validation.counts().tolist() == [2, 1]
    assert splits.validation_trains
    assert not len(splits.test)
    assert not make_splits({"all": records([5, 5])}).validation_trains
    tested = make_splits({"all": records([10, 10])}, validation_fraction=0)
    assert set(tested.test.paths).isdisjoint(tested.train.paths + tested.validation.paths)
    own = {"train": records([4, 4], "train"), "validation": records([2, 2], "validation")}
    assert not make_splits(own, validation_fraction=0, test_fraction=0).validation_trains
    with_shots = make_splits({"all": records([9, 9])}, validation_fraction=0, shots=2)
    assert not with_shots.validation_trains


@pytest.mark.parametrize("own", ["validation", "test"])
def test_what_is_missing_is_drawn_from_train(own):
    train, given_split = records([10, 20], "train"), records([1, 1], own)
    splits = make_splits({"train": train, own: given_split})
    drawn = splits.test if own == "validation" else splits.validation
    assert getattr(splits, own) is given_split
    assert drawn.counts().tolist() == [2, 4]
    assert splits.train.counts().tolist() == [8, 16]


def test_split_seed_draws_the_splits_and_the_seed_does_not():
    whole = {"all": records([40, 40])}
    first = make_splits(whole)
    assert make_splits(whole, seed=5).test.paths == first.test.paths
    assert make_splits(whole, split_seed=1).test.paths != first.test.paths
    assert make_splits(whole, split_seed=1).validation.paths != first.validation.paths


def test_a_new_image_moves_no_other():
    whole = records([40, 40])
    before = make_splits({"all": whole.select(np.arange(1, 80))})
    after = make_splits({"all": whole})
    moved = set(after.test.paths) ^ set(before.test.paths)
    assert len(moved - {whole.paths[0]}) <= 2  # at the border, where the share is rounded


def test_draws_do_not_follow_the_file_order():
    splits = make_splits({"all": records([200, 200])})
    positions = np.array([int(path.split("-")[1]) for path in splits.test.paths[:40]])
    assert 60 < positions.mean() < 140  # 99.5 with a standard error of 8
    assert (np.diff(positions) > 1).any()


@pytest.mark.parametrize("shots", [1, 5, 10])
def test_shots(shots):
    whole = records([30, 40])
    splits = make_splits({"all": whole}, shots=shots)
    assert splits.train.counts().tolist() == [shots, shots]
    assert splits.validation.counts().tolist() == [shots, shots]
    assert splits.test.paths == make_splits({"all": whole}).test.paths
    assert not set(splits.train.paths) & set(splits.validation.paths)
    assert not set(splits.test.paths) & set(splits.train.paths + splits.validation.paths)


def test_shots_are_drawn_by_the_seed_alone():
    by_split = {"train": records([60, 60], "train"), "test": records([5, 5], "test")}
    first = make_splits(by_split, shots=10, seed=3)
    assert make_splits(by_split, shots=10, seed=3, split_seed=9).train.paths == first.train.paths
    assert make_splits(by_split, shots=10, seed=4).train.paths != first.train.paths
    assert first.test is by_split["test"]


def test_validation_takes_what_the_shots_leave():
    by_split = {"train": records([11, 15, 40], "train"), "test": records([1, 1, 1], "test")}
    splits = make_splits(by_split, shots=10)
    assert splits.train.counts().tolist() == [10, 10, 10]
    assert splits.validation.counts().tolist() == [1, 5, 10]


def test_shots_validate_on_an_own_validation_split():
    by_split = {
        "train": records([10, 12], "train"),
        "validation": records([3, 30], "validation"),
        "test": records([2, 2], "test"),
    }
    splits = make_splits(by_split, shots=10)
    assert splits.train.counts().tolist() == [10, 10]
    assert splits.validation.counts().tolist() == [3, 10]
    assert set(splits.validation.paths) <= set(by_split["validation"].paths)


def test_one_class_is_refused():
    assert error_of({"all": records([9])}) == (
        "the data has one class, class0; at least 2 are needed to tell images apart. "
        "Give the folder that holds the class folders, or add a class."
    )


@pytest.mark.parametrize(
    ("own", "needed", "uses"),
    [
        ((), 3, "1 to train on, one to validate on, one to test on"),
        (("test",), 2, "1 to train on, one to validate on"),
        (("validation",), 2, "1 to train on, one to test on"),
    ],
)
def test_a_class_with_too_few_images_is_named(own, needed, uses):
    by_split = {"train": records([5, 1, 1])} | {name: records([1, 1, 1], name) for name in own}
    assert error_of(by_split) == (
        f"too few images: class1 has 1, class2 has 1; a class needs at least {needed} ({uses}). "
        f"Add images, or take the class out."
    )


def test_too_few_images_for_the_shots():
    by_split = {"train": records([40, 10], "train"), "test": records([1, 1], "test")}
    assert error_of(by_split, shots=10) == (
        "too few images: class1 has 10; a class needs at least 11 (10 to train on, one to "
        "validate on). Add images, ask for fewer --shots, or take the class out."
    )


def test_shots_of_a_set_without_splits_leave_a_test_image():
    splits = make_splits({"all": records([12, 12])}, shots=10, test_fraction=0.9)
    assert [part.counts().tolist() for _, part in splits.items()] == [[10, 10], [1, 1], [1, 1]]


def test_no_train_split():
    assert error_of({"test": records([1, 1])}) == (
        "the data has test, but no train split. Add a folder or file named train, "
        "or give the folder of class folders itself."
    )


@pytest.mark.parametrize("fraction", [1.0, -1.0])
def test_a_validation_fraction_outside_0_to_1(fraction):
    assert error_of({"all": records([5, 5])}, validation_fraction=fraction) == (
        f"the validation fraction is {fraction}; it must be 0 (every image trains) or lie "
        f"between 0 and 1. Set data.validation_fraction, such as 0.2."
    )


@pytest.mark.parametrize("fraction", [1.0, -1.0])
def test_a_test_fraction_that_is_none(fraction):
    assert error_of({"all": records([5, 5])}, test_fraction=fraction) == (
        f"the test fraction is {fraction}; it must be 0 (every image may train) or lie between "
        f"0 and 1. Set data.test_fraction, such as 0.2."
    )


def test_no_test_images_where_they_are_waived():
    whole = records([10, 2])
    splits = make_splits({"all": whole}, test_fraction=0)
    assert len(splits.test) == 0
    assert splits.validation.counts().tolist() == [2, 1]
    assert_partition(splits, whole)
    own = records([3, 3], "test")
    assert make_splits({"train": whole, "test": own}, test_fraction=0).test is own


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    counts=st.lists(st.integers(6, 30), min_size=2, max_size=5),
    folds=st.integers(2, 6),
    repeat=st.integers(0, 5),
)
def test_folds_test_every_image_once_and_have_their_part_of_each_class(counts, folds, repeat):
    whole = records(counts)
    drawn = [
        make_splits({"all": whole}, fold=Fold(folds, number, repeat)) for number in range(folds)
    ]
    for splits in drawn:
        assert_partition(splits, whole)
        assert all((part.counts() >= 1).all() for _, part in splits.items())
    tested = [path for splits in drawn for path in splits.test.paths]
    assert sorted(tested) == sorted(whole.paths), "once each, and none left out"
    of_fold_FC = np.array([splits.test.counts() for splits in drawn])
    assert (np.ptp(of_fold_FC, axis=0) <= 1).all(), "of each class, to within one image"


def test_equal_classes_make_equal_folds():
    whole = records([11] * 5)  # each class has one fold of three
    sizes = [len(make_splits({"all": whole}, fold=Fold(5, number)).test) for number in range(5)]
    assert sizes == [11] * 5


def test_a_repeat_is_another_partition_and_the_same_one_every_time():
    whole = {"all": records([20, 20])}
    first = make_splits(whole, fold=Fold(5, 2, 0))
    assert make_splits(whole, fold=Fold(5, 2, 0), seed=7).test.paths == first.test.paths
    assert make_splits(whole, fold=Fold(5, 2, 1)).test.paths != first.test.paths
    assert make_splits(whole, fold=Fold(5, 2, 0), split_seed=1).test.paths != first.test.paths


def test_folds_spare_an_own_validation_split():
    own = records([2, 2], "validation")
    splits = make_splits({"train": records([6, 6]), "validation": own}, fold=Fold(3))
    assert splits.validation is own
    assert splits.test.counts().tolist() == [2, 2]


def test_few_shots_beside_a_fold():
    splits = make_splits({"all": records([20, 20])}, fold=Fold(5), shots=3)
    assert [part.counts().tolist() for _, part in splits.items()] == [[3, 3], [3, 3], [4, 4]]


@pytest.mark.parametrize(
    ("counts", "folds", "shots", "needed", "leave"),
    [([9, 4], 5, None, 5, 2), ([3, 9], 2, None, 4, 2), ([30, 12], 5, 10, 14, 11)],
)
def test_a_class_too_small_for_the_folds_is_named(counts, folds, shots, needed, leave):
    small = int(np.argmin(counts))
    options = {"fold": Fold(folds), "shots": shots}
    assert error_of({"all": records(counts)}, **options) == (
        f"too few images for {folds} folds: class{small} has {min(counts)}; a class needs at "
        f"least {needed}, one in each fold and {leave} beside any fold to train and validate on. "
        f"Set fewer data.folds, add images, or take the class out."
    )
    enough = records([max(n, needed) for n in counts])
    assert all(
        (make_splits({"all": enough}, fold=Fold(folds, k), shots=shots).train.counts() >= 1).all()
        for k in range(folds)
    ), "the number that is asked for is enough"


def test_folds_where_the_data_has_its_own_test_split():
    by_split = {name: records([9, 9], name) for name in ("train", "test")}
    assert "the data has a test split of its own" in error_of(by_split, fold=Fold(3))


@pytest.mark.parametrize("fold", [(1, 0), (5, 5), (5, -1)])
def test_a_fold_that_is_none(fold):
    with pytest.raises(InputError, match=r"data\.folds is 1; give|numbered from 0 to 4\. Give one"):
        Fold(*fold)


def test_no_shots():
    assert error_of({"all": records([5, 5])}, shots=0) == (
        "shots is 0; it must be at least 1. Set --shots 10, or leave it out."
    )


def test_manifest():
    splits = make_splits({"all": records([3, 4])})
    manifest = split_manifest(splits)
    assert manifest["class_names"] == ["class0", "class1"]
    assert manifest["counts"] == {
        "train": {"class0": 1, "class1": 2},
        "validation": {"class0": 1, "class1": 1},
        "test": {"class0": 1, "class1": 1},
    }
    assert manifest["paths"]["test"] == list(splits.test.paths)
    assert len(manifest["fingerprint"]) == 64
    other = split_manifest(make_splits({"all": records([3, 4])}, split_seed=1))
    assert other["fingerprint"] != manifest["fingerprint"]
