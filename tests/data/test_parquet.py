import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_files import encoded, noise, write_parquet

from lacvit.data.decoding import UnreadableImageError
from lacvit.data.parquet import read_parquet
from lacvit.errors import InputError


def error_of(path) -> str:
    with pytest.raises(InputError) as caught:
        read_parquet(path)
    return str(caught.value)


def test_one_file_is_all(tmp_path):
    file = write_parquet(tmp_path / "train.parquet", [1, 0, 1], names=["cat", "dog"])
    by_split = read_parquet(file)
    records = by_split["all"]
    assert list(by_split) == ["all"]
    assert records.class_names == ("cat", "dog")
    assert records.labels.tolist() == [1, 0, 1]
    assert records.paths == ("train.parquet#0", "train.parquet#1", "train.parquet#2")
    np.testing.assert_array_equal(records.select([2]).read(0), noise(2))


def test_a_folder_by_split(tmp_path):
    for number, name in enumerate(["test", "train", "validation"]):
        write_parquet(tmp_path / f"{name}.parquet", [0, 1] * (number + 1), names=["a", "b"])
    by_split = read_parquet(tmp_path)
    assert {name: len(records) for name, records in by_split.items()} == {
        "train": 4,
        "validation": 6,
        "test": 2,
    }


@pytest.mark.parametrize("below", ["", "data"])
def test_shards_are_put_together_in_order(tmp_path, below):
    for shard in range(11):
        write_parquet(
            tmp_path / below / f"train-{shard:05d}-of-00011.parquet", [shard % 2], seed=shard
        )
    write_parquet(tmp_path / below / "test-00000-of-00001.parquet", [0, 1])
    by_split = read_parquet(tmp_path)
    assert [len(by_split[name]) for name in ("train", "test")] == [11, 2]
    assert by_split["train"].paths[10] == "train-00010-of-00011.parquet#0"
    np.testing.assert_array_equal(by_split["train"].read(10), noise(10))


def test_files_that_name_no_split_are_one_set(tmp_path):
    write_parquet(tmp_path / "part2.parquet", [1])
    write_parquet(tmp_path / "part1.parquet", [0])
    assert read_parquet(tmp_path)["all"].paths == ("part1.parquet#0", "part2.parquet#0")


def test_unnamed_files_beside_splits_are_refused(tmp_path):
    for name in ("train", "extra"):
        write_parquet(tmp_path / f"{name}.parquet", [0, 1])
    assert error_of(tmp_path) == (
        f"{tmp_path} holds Parquet files of named splits and also extra.parquet. Files must be "
        f"named for their split: train, validation or test, such as train.parquet. "
        f"Rename or remove the others."
    )


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["x/1.jpg", "2.jpg", None], ("x/1.jpg", "2.jpg", "s.parquet#2")),
        (["same", "same", "other"], ("same#0", "same#1", "other")),
        (["", "a", "b"], ("s.parquet#0", "a", "b")),
    ],
)
def test_paths_are_unique(tmp_path, paths, expected):
    file = write_parquet(tmp_path / "s.parquet", [0, 1, 0], paths=paths)
    assert read_parquet(file)["all"].paths == expected


@pytest.mark.parametrize(
    ("labels", "names", "found", "numbers"),
    [
        (["dog", "cat", "dog"], None, ("cat", "dog"), [1, 0, 1]),
        ([10, 9, 10], None, ("9", "10"), [1, 0, 1]),
        ([True, False, True], None, ("False", "True"), [1, 0, 1]),
        ([2, 0, 2], ["z", "y", "x"], ("z", "y", "x"), [2, 0, 2]),
        (["x", "z", "x"], ["z", "y", "x"], ("z", "y", "x"), [2, 0, 2]),
    ],
)
def test_class_names(tmp_path, labels, names, found, numbers):
    records = read_parquet(write_parquet(tmp_path / "s.parquet", labels, names=names))["all"]
    assert records.class_names == found
    assert records.labels.tolist() == numbers


@pytest.mark.parametrize(
    "columns", [("image", "label"), ("img", "fine_label"), ("picture", "class")]
)
@pytest.mark.parametrize("declared", [True, False])
def test_columns_by_declaration_or_by_name(tmp_path, columns, declared):
    names = ["a", "b"] if declared else None
    file = write_parquet(tmp_path / "s.parquet", [0, 1], names=names, columns=columns)
    assert len(read_parquet(file)["all"]) == 2


def test_any_declared_columns(tmp_path):
    columns = ("photograph", "species")
    file = write_parquet(tmp_path / "s.parquet", [0, 1], names=["a", "b"], columns=columns)
    assert read_parquet(file)["all"].class_names == ("a", "b")


def test_plain_binary_images(tmp_path):
    table = pa.table({"image": [encoded(noise(i)) for i in range(2)], "label": ["a", "b"]})
    pq.write_table(table, tmp_path / "s.parquet")
    np.testing.assert_array_equal(read_parquet(tmp_path / "s.parquet")["all"].read(1), noise(1))


def test_a_row_without_bytes_is_unreadable(tmp_path):
    structs = pa.array(
        [{"bytes": None, "path": "gone.jpg"}, None],
        type=pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    pq.write_table(pa.table({"image": structs, "label": [0, 1]}), tmp_path / "s.parquet")
    records = read_parquet(tmp_path / "s.parquet")["all"]
    for row in range(2):
        with pytest.raises(UnreadableImageError) as caught:
            records.read(row)
        assert caught.value.reason == "the row holds no bytes"


def test_many_row_groups(tmp_path):
    file = write_parquet(tmp_path / "s.parquet", [0, 1] * 20)
    pq.write_table(pq.read_table(file), file, row_group_size=7)
    records = read_parquet(file)["all"].select([39, 0, 20])
    for position, row in enumerate([39, 0, 20]):
        np.testing.assert_array_equal(records.read(position), noise(row))


@pytest.mark.parametrize("labels", [[0, None, 1], [0, -1, 1]])
def test_unlabelled_rows_are_refused(tmp_path, labels):
    file = write_parquet(tmp_path / "s.parquet", labels)
    assert error_of(file) == (
        f"{file} has 1 of 3 rows without a label (empty, or -1). "
        f"Every row needs one: label these rows, or remove them."
    )


def test_labels_beyond_the_declared_names_are_refused(tmp_path):
    file = write_parquet(tmp_path / "s.parquet", [0, 5], names=["a", "b"])
    assert error_of(file) == (
        f"{file} has the label 5, but its schema names 2 classes (0 to 1). "
        f"Correct the labels, or the names in the schema."
    )


@pytest.mark.parametrize("labels", [[0.5, 1.0], [[1], [2]]])
def test_labels_of_another_type_are_refused(tmp_path, labels):
    file = write_parquet(tmp_path / "s.parquet", labels)
    assert f"{file} has labels of type {type(labels[0]).__name__}; they must be" in error_of(file)


def test_no_column_of_images(tmp_path):
    pq.write_table(pa.table({"text": ["a"], "label": [0]}), tmp_path / "s.parquet")
    assert error_of(tmp_path / "s.parquet") == (
        f"{tmp_path / 's.parquet'} has no column of images that can be told: its columns are "
        f"text (string), label (int64). One must hold encoded images (a struct with bytes and "
        f"path, or binary) and be called image or img. Rename it."
    )


def test_no_column_of_labels(tmp_path):
    file = write_parquet(tmp_path / "s.parquet", [0, 1], columns=("image", "weight"))
    assert "has no column of labels that can be told: its columns are image" in error_of(file)
    assert "be called label or labels or class. Rename it." in error_of(file)


def test_no_rows(tmp_path):
    file = write_parquet(tmp_path / "s.parquet", [0])
    pq.write_table(pq.read_table(file).slice(0, 0), file)
    assert error_of(file) == (f"{file} has no rows. Give a Parquet file with images, or remove it.")


def test_no_parquet_at_all(tmp_path):
    file = tmp_path / "s.parquet"
    file.write_bytes(b"PAR1 but not really")
    message = error_of(file)
    assert message.startswith(f"{file} cannot be read as Parquet: ")
    assert message.endswith("Make the file again, or give a folder of class folders.")


def test_a_file_cut_in_the_middle(tmp_path):
    file = write_parquet(tmp_path / "s.parquet", [0, 1] * 20)
    payload = bytearray(file.read_bytes())
    payload[4:2000] = bytes(1996)
    file.write_bytes(payload)
    assert "cannot be read as Parquet" in error_of(file)


def test_shards_of_different_columns_are_refused(tmp_path):
    write_parquet(tmp_path / "train-0.parquet", [0, 1])
    write_parquet(tmp_path / "train-1.parquet", [0, 1], columns=("image", "class"))
    assert error_of(tmp_path) == (
        f"{tmp_path / 'train-1.parquet'} lacks the columns image and label that the first file "
        f"of its split has; it has image, class. Files of one split need one schema."
    )


def test_shards_of_different_classes_are_refused(tmp_path):
    write_parquet(tmp_path / "train-0.parquet", [0, 1], names=["a", "b"])
    write_parquet(tmp_path / "train-1.parquet", [0, 1], names=["b", "a"])
    assert error_of(tmp_path) == (
        f"{tmp_path / 'train-1.parquet'} names other classes in its schema than "
        f"train-0.parquet. Files of one split need one schema: make them again together."
    )


def test_names_that_stand_in_several_splits_are_told_apart(tmp_path):
    for seed, name in enumerate(["train", "validation", "test"]):
        paths = ["0.png", "1.png", f"{name}.png"]
        write_parquet(tmp_path / f"{name}.parquet", [0, 1, 0], paths=paths, seed=10 * seed)
    by_split = read_parquet(tmp_path)
    assert by_split["test"].paths == ("test/0.png", "test/1.png", "test.png")
    named = [path for records in by_split.values() for path in records.paths]
    assert len(set(named)) == len(named)
