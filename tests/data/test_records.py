import hashlib

import numpy as np
import pytest
from image_files import encoded, noise, write_classes

from lacvit.data.decoding import UnreadableImageError
from lacvit.data.readers import read_data
from lacvit.data.records import FileSource, ImageRecords, records_from_arrays, some_of
from lacvit.errors import InputError


def arrays(count: int = 5, classes: int = 3) -> ImageRecords:
    images = [noise(seed) for seed in range(count)]
    return records_from_arrays(images, np.arange(count) % classes, ["a", "b", "c"][:classes])


def test_columns():
    records = arrays()
    assert len(records) == 5
    assert records.paths == ("image-0", "image-1", "image-2", "image-3", "image-4")
    assert records.labels.tolist() == [0, 1, 2, 0, 1]
    assert records.labels.dtype == np.int64
    assert records.counts().tolist() == [2, 2, 1]
    np.testing.assert_array_equal(records.read(3), noise(3))


def test_labels_cannot_be_changed():
    given = np.array([0, 1])
    records = records_from_arrays([noise(0), noise(1)], given, ["a", "b"])
    with pytest.raises(ValueError, match="read-only"):
        records.labels[0] = 1
    given[0] = 1
    assert records.labels[0] == 0


@pytest.mark.parametrize(
    ("labels", "message"),
    [([0, 1], "3 paths, but labels of shape"), ([0, 1, 2], "a label is outside 0..1")],
)
def test_columns_that_disagree_are_our_fault(labels, message):
    with pytest.raises(ValueError, match=message):
        records_from_arrays([noise(0)] * 3, labels, ["a", "b"])


@pytest.mark.parametrize("indices", [[4, 0, 0], np.array([4, 0, 0]), range(4, -1, -4)])
def test_select_takes_positions_in_order(indices):
    chosen = arrays().select(indices)
    order = list(indices)
    assert chosen.paths == tuple(f"image-{i}" for i in order)
    assert chosen.labels.tolist() == [i % 3 for i in order]
    assert chosen.class_names == ("a", "b", "c")
    np.testing.assert_array_equal(chosen.read(1), noise(0))


def test_select_nothing():
    assert len(arrays().select([])) == 0


def test_read_names_the_image(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    records = ImageRecords(FileSource(tmp_path, ("bad.png",)), ("bad.png",), [0], ("a",))
    with pytest.raises(UnreadableImageError) as caught:
        records.read(0)
    assert str(caught.value) == (
        "bad.png cannot be read: its bytes are no image of a known format. "
        "Replace it by an image that opens, or remove it."
    )


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.symlink_to("nowhere"), "the link points nowhere"),
        (lambda path: None, "the file is gone"),
        (lambda path: path.mkdir(), "Is a directory"),
    ],
)
def test_files_that_cannot_be_opened(tmp_path, make, reason):
    make(tmp_path / "x.png")
    with pytest.raises(UnreadableImageError) as caught:
        FileSource(tmp_path, ("x.png",)).payload(0)
    assert caught.value.reason == reason


def test_relabel_matches_by_name():
    records = arrays().relabel(["c", "unused", "a", "b"])
    assert records.labels.tolist() == [2, 3, 0, 2, 3]
    assert records.class_names == ("c", "unused", "a", "b")


def test_relabel_lets_an_unused_class_go():
    assert arrays().select([0, 1]).relabel(["b", "a"]).labels.tolist() == [1, 0]


def test_relabel_refuses_an_unknown_class():
    with pytest.raises(InputError) as caught:
        arrays().relabel(["a", "c"])
    assert str(caught.value) == (
        "unknown class b; known are a, c. Classes are matched by name: rename those that are "
        "unknown, or leave their images out."
    )


def test_fingerprint_is_the_same_wherever_the_data_lies(tmp_path):
    first = read_data(write_classes(tmp_path / "here", {"a": 2, "b": 3}))["all"]
    second = read_data(write_classes(tmp_path / "x" / "there", {"a": 2, "b": 3}))["all"]
    assert first.fingerprint == second.fingerprint
    assert len(first.fingerprint) == len(hashlib.sha256().hexdigest())


@pytest.mark.parametrize("what", ["content", "path", "class name", "order", "fewer"])
def test_fingerprint_sees_a_change_of(what, tmp_path):
    folder = write_classes(tmp_path, {"a": 2, "b": 2})
    before = read_data(folder)["all"]
    after = before
    if what == "content":
        (folder / "a" / "0.png").write_bytes(encoded(noise(77)))
    elif what == "path":
        (folder / "a" / "0.png").rename(folder / "a" / "00.png")
        after = read_data(folder)["all"]
    elif what == "class name":
        after = ImageRecords(before.source, before.paths, before.labels, ("a", "c"))
    elif what == "order":
        after = before.select([1, 0, 2, 3])
    else:
        after = before.select([0, 1, 2])
    fresh = after.select(range(len(after)))
    assert (
        fresh.fingerprint
        != read_data(write_classes(tmp_path / "x", {"a": 2, "b": 2}))["all"].fingerprint
    )


def test_fingerprint_goes_by_class_name_not_by_number():
    records = arrays()
    assert records.relabel(["c", "b", "a"]).fingerprint == records.fingerprint


def test_fingerprint_survives_an_unreadable_file(tmp_path):
    (tmp_path / "x.png").symlink_to("nowhere")
    records = ImageRecords(FileSource(tmp_path, ("x.png",)), ("x.png",), [0], ("a",))
    assert len(records.fingerprint) == 64


def test_grey_arrays_become_rgb():
    records = records_from_arrays([np.full((2, 3), 9, dtype=np.uint8)], [0], ["a"])
    np.testing.assert_array_equal(records.read(0), np.full((2, 3, 3), 9))


@pytest.mark.parametrize(
    ("names", "text"),
    [(["a"], "a"), (list("abcde"), "a, b, c, d, e"), (list("abcdefg"), "a, b, c, d, e and 2 more")],
)
def test_some_of(names, text):
    assert some_of(names) == text
