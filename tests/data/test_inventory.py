"""What ``lacvit check`` understands of a set."""

import json
from pathlib import Path

import pytest
from image_files import encoded, noise, write_classes, write_parquet
from PIL import Image

from lacvit.data.faults import drop_unreadable
from lacvit.data.inventory import take_inventory
from lacvit.data.readers import read_data
from lacvit.errors import InputError
from set_trees import write_cub200


def split_set(folder: Path) -> Path:
    write_classes(folder / "train", {"cat": 4, "dog": 3})
    write_classes(folder / "val", {"cat": 2, "dog": 1}, seed=100)
    write_classes(folder / "test", {"cat": 2, "dog": 2}, seed=200)
    return folder


def test_splits_classes_and_counts(tmp_path: Path) -> None:
    found = take_inventory(split_set(tmp_path), workers=2)
    assert found.as_json() == {
        "splits": {"train": 7, "val": 3, "test": 4},
        "drawn": [],
        "classes": {
            "cat": {"train": 4, "val": 2, "test": 2},
            "dog": {"train": 3, "val": 1, "test": 2},
        },
        "faults": [],
        "notices": [],
    }


def test_splits_that_are_not_there_are_drawn_as_training_draws_them(tmp_path: Path) -> None:
    found = take_inventory(write_classes(tmp_path, {"cat": 10, "dog": 5}))
    assert found.splits == {"train": 9, "val": 3, "test": 3}
    assert found.drawn == ("val", "test")
    assert found.classes["cat"] == {"train": 6, "val": 2, "test": 2}


def test_unreadable_images_are_named_with_what_happens_to_them(tmp_path: Path) -> None:
    split_set(tmp_path)
    (tmp_path / "train" / "cat" / "9.jpg").write_bytes(b"")
    found = take_inventory(tmp_path)
    (fault,) = found.as_json()["faults"]
    assert fault == {
        "kind": "unreadable",
        "path": "train/cat/9.jpg",
        "action": "refused",  # one of eight is more than 1 %
        "reason": "the file is empty",
        "split": "train",
    }
    assert found.splits["train"] == 7


def test_few_unreadable_images_are_skipped(tmp_path: Path) -> None:
    write_classes(tmp_path, {"cat": 60, "dog": 60})
    (tmp_path / "dog" / "broken.png").write_bytes(encoded(noise())[:60])
    (fault,) = take_inventory(tmp_path).faults
    assert (fault.kind, fault.path, fault.action) == ("unreadable", "dog/broken.png", "skipped")


def test_one_in_a_hundred_is_skipped_as_training_does(tmp_path: Path) -> None:
    write_classes(tmp_path, {"cat": 50, "dog": 49})
    (tmp_path / "dog" / "broken.png").write_bytes(encoded(noise())[:60])
    (fault,) = take_inventory(tmp_path).faults
    assert fault.action == "skipped"
    assert len(drop_unreadable(read_data(tmp_path)["all"], [fault], strict=False)) == 99


def test_duplicates_are_told_by_their_pixels(tmp_path: Path) -> None:
    split_set(tmp_path)
    picture = Image.open(tmp_path / "train" / "cat" / "1.png")
    picture.save(tmp_path / "train" / "cat" / "copy.bmp")
    picture.save(tmp_path / "test" / "dog" / "leak.webp", lossless=True)
    faults = take_inventory(tmp_path).as_json()["faults"]
    assert faults == [
        {
            "kind": "duplicate",
            "path": "train/cat/copy.bmp",
            "action": "kept",
            "reason": "the same pixels as train/cat/1.png in train",
            "split": "train",
            "of": "train/cat/1.png",
        },
        {
            "kind": "duplicate-across-splits",
            "path": "test/dog/leak.webp",
            "action": "kept",
            "reason": "the same pixels as train/cat/1.png in train, which is labelled cat "
            "and this one dog",
            "split": "test",
            "of": "train/cat/1.png",
        },
    ]


def test_other_shapes_with_the_same_bytes_are_no_duplicates(tmp_path: Path) -> None:
    for name, size in (("a", (8, 4)), ("b", (4, 8))):
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.new("RGB", size, (number, 0, 0)).save(tmp_path / name / f"{number}.png")
    assert take_inventory(tmp_path).faults == ()


def test_rows_of_one_name_in_two_splits_are_kept_apart(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [0, 1], paths=["1.png", "2.png"])
    write_parquet(tmp_path / "test.parquet", [0, 1], paths=["1.png", "2.png"], seed=50)
    found = take_inventory(tmp_path)
    assert [fault.kind for fault in found.faults] == [
        "untrainable"
    ]  # one a class: none to validate
    write_parquet(tmp_path / "test.parquet", [0, 1], paths=["2.png", "9.png"], seed=1)
    found = take_inventory(tmp_path)
    assert [(f.kind, f.path, f.of) for f in found.faults[1:]] == [
        ("duplicate-across-splits", "test/2.png", "train/2.png")
    ]


def test_a_set_that_cannot_be_trained_on_is_described_all_the_same(tmp_path: Path) -> None:
    found = take_inventory(write_classes(tmp_path, {"cat": 4, "dog": 1}))
    assert found.splits == {"train": 5, "val": 0, "test": 0}
    (fault,) = found.faults
    assert (fault.kind, fault.action) == ("untrainable", "refused")
    assert "dog has 1; a class needs at least 3" in fault.reason


def test_a_named_set_tells_its_odd_counts(tmp_path: Path) -> None:
    write_cub200(tmp_path)
    found = take_inventory("cub200", tmp_path)
    assert sum(found.splits.values()) == 18
    assert found.drawn == ("val",)
    assert found.notices[0].startswith("cub200 is not the whole CUB-200-2011: it has 12 train")
    json.dumps(found.as_json())


def test_what_cannot_be_understood_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images found in"):
        take_inventory(tmp_path)
