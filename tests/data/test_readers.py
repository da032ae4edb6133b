import subprocess
import sys

import numpy as np
import pytest
from image_files import write_classes, write_parquet

from lacvit.data.named_sets import NAMED_SETS
from lacvit.data.readers import READERS, describe, read_data
from lacvit.errors import InputError

TORCH_FREE = ("augmentation", "decoding", "draws", "faults", "folders", "parquet", "readers")
TORCH_FREE += ("records", "splits", "named_sets")


def error_of(path) -> str:
    with pytest.raises(InputError) as caught:
        read_data(path)
    return str(caught.value)


def test_folder_and_parquet_are_told_apart(tmp_path):
    folder = write_classes(tmp_path / "folder", {"a": 2, "b": 1})
    file = write_parquet(tmp_path / "files" / "train.parquet", ["a", "b", "a"])
    assert list(READERS) == ["parquet", "folder"]
    for path in (folder, str(folder), file, file.parent):
        (records,) = read_data(path).values()
        assert records.class_names == ("a", "b")
        assert len(records) == 3


def test_missing(tmp_path):
    assert error_of(tmp_path / "no") == (
        f"{tmp_path / 'no'} does not exist. Give a folder of class folders, a Parquet file or "
        f"folder, or the name of a set with --root: {', '.join(NAMED_SETS)}."
    )


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "data.zip").touch()
    assert error_of(tmp_path / "data.zip") == (
        f"{tmp_path / 'data.zip'} is a file that is no Parquet file (.parquet). "
        f"Give a folder of class folders, or a Parquet file or folder."
    )


def test_classes_are_matched_by_name(tmp_path):
    write_parquet(tmp_path / "train.parquet", [0, 1, 2], names=["ant", "bee", "cow"])
    write_parquet(tmp_path / "test.parquet", [0, 1, 2], names=["cow", "ant", "bee"])
    by_split = read_data(tmp_path)
    assert by_split["test"].class_names == by_split["train"].class_names == ("ant", "bee", "cow")
    assert by_split["test"].labels.tolist() == [2, 0, 1]


def test_a_class_may_be_missing_later(tmp_path):
    write_classes(tmp_path / "train", {"a": 1, "b": 1, "c": 1})
    write_classes(tmp_path / "val", {"a": 1, "c": 1})
    by_split = read_data(tmp_path)
    assert by_split["validation"].labels.tolist() == [0, 2]
    assert describe(by_split) == [
        "train:      3 images in 3 classes",
        "validation: 2 images in 2 of 3 classes (none of b)",
    ]


def test_a_class_that_train_lacks_is_refused(tmp_path):
    write_classes(tmp_path / "train", {"a": 1, "b": 1})
    write_classes(tmp_path / "test", {"a": 1, "B": 1})
    assert error_of(tmp_path) == (
        "the test split has B, which the train split has no image of; its classes are a, b. "
        "Classes are matched by name: rename the folder or label, add images of it to train, "
        "or remove it."
    )


def test_declared_classes_without_images_are_left_out(tmp_path):
    file = write_parquet(tmp_path / "train.parquet", [2, 0, 2], names=["a", "b", "c"])
    records = read_data(file)["all"]
    assert records.class_names == ("a", "c")
    assert records.labels.tolist() == [1, 0, 1]


def test_test_alone_can_be_read(tmp_path):
    write_classes(tmp_path / "test", {"only": 1})
    assert read_data(tmp_path)["test"].class_names == ("only",)


def test_describe_counts():
    from image_files import noise

    from lacvit.data.records import records_from_arrays

    one = records_from_arrays([noise()], [0], ["a"])
    many = records_from_arrays([noise()] * 1200, np.arange(1200) % 2, ["a", "b"])
    assert describe({"all": one}) == ["all: 1 image in 1 class"]
    assert describe({"train": many}) == ["train: 1,200 images in 2 classes"]


def test_reading_needs_no_torch():
    modules = ", ".join(f"lacvit.data.{name}" for name in TORCH_FREE)
    program = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "train", "test", "classes"),
    [
        ("cifar10", 5_000, 10_000, 10),
        ("cifar100", 10_000, 10_000, 100),
        ("flowers102", 1_223, 816, 102),
    ],
)
def test_shared_sets(shared_data, name, train, test, classes):
    by_split = read_data(shared_data / name)
    assert {split: len(records) for split, records in by_split.items()} == {
        "train": train,
        "test": test,
    }
    assert len(by_split["train"].class_names) == classes
    assert (by_split["test"].counts() > 0).all()
    assert by_split["train"].read(0).ndim == 3
