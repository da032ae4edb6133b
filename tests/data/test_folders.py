import os
import unicodedata

import pytest
from image_files import encoded, noise, write_classes

from lacvit.data.folders import (
    images_below,
    left_out,
    natural_order,
    read_class_folders,
    split_called,
)
from lacvit.data.readers import notices, read_data
from lacvit.errors import InputError


def error_of(folder) -> str:
    with pytest.raises(InputError) as caught:
        read_class_folders(folder)
    return str(caught.value)


def test_class_folders(tmp_path):
    records = read_class_folders(write_classes(tmp_path, {"dogs": 1, "cats": 2}))["all"]
    assert records.class_names == ("cats", "dogs")
    assert records.paths == ("cats/0.png", "cats/1.png", "dogs/0.png")
    assert records.labels.tolist() == [0, 0, 1]
    assert records.read(2).shape == (8, 8, 3)


def test_classes_and_files_are_in_natural_order(tmp_path):
    records = read_class_folders(write_classes(tmp_path, {"10": 12, "9": 1, "b": 1, "A": 1}))["all"]
    assert records.class_names == ("9", "10", "A", "b")
    assert records.paths[1:13] == tuple(f"10/{i}.png" for i in range(12))


def test_images_at_any_depth(tmp_path):
    write_classes(tmp_path / "cats" / "2019", {"may": 1, "june": 1})
    write_classes(tmp_path, {"dogs": 1})
    records = read_class_folders(tmp_path)["all"]
    assert records.paths == ("cats/2019/june/0.png", "cats/2019/may/0.png", "dogs/0.png")
    assert records.labels.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    "name", ["a.jpg", "a.JPEG", "a.Png", "a.webp", "a.gif", "a.bmp", "a.tif", "a.TIFF", "a.b.jpg"]
)
def test_candidates_by_ending(tmp_path, name):
    write_classes(tmp_path, {"x": 0, "y": 1})
    (tmp_path / "x" / name).write_bytes(encoded(noise(), "PNG"))  # the bytes decide, not the name
    records = read_class_folders(tmp_path)["all"]
    assert records.paths[0] == f"x/{name}"
    assert records.read(0).shape == (8, 8, 3)


@pytest.mark.parametrize(
    "name", [".DS_Store", "Thumbs.db", "labels.txt", ".hidden.png", "png", "a.heic", "a.jpg.part"]
)
def test_other_files_are_ignored(tmp_path, name):
    write_classes(tmp_path, {"x": 1, "y": 1})
    for place in (tmp_path, tmp_path / "x"):
        (place / name).write_bytes(b"something")
    assert len(read_class_folders(tmp_path)["all"]) == 2


def test_hidden_and_empty_folders_are_ignored(tmp_path):
    write_classes(tmp_path, {"x": 1, "y": 1, ".thumbnails": 3, "empty": 0, "__MACOSX": 0})
    assert read_class_folders(tmp_path)["all"].class_names == ("x", "y")


def test_a_dangling_link_is_a_candidate(tmp_path):
    write_classes(tmp_path, {"x": 1, "y": 1})
    (tmp_path / "x" / "gone.jpg").symlink_to("nowhere.jpg")
    assert "x/gone.jpg" in read_class_folders(tmp_path)["all"].paths


def test_linked_folders_are_followed_and_loops_are_not(tmp_path):
    write_classes(tmp_path / "elsewhere", {"cats": 2})
    data = write_classes(tmp_path / "data", {"dogs": 1})
    (data / "cats").symlink_to(tmp_path / "elsewhere" / "cats")
    (data / "dogs" / "again").symlink_to(data / "dogs")
    records = read_class_folders(data)["all"]
    assert records.paths == ("cats/0.png", "cats/1.png", "dogs/0.png")


def test_class_names_are_the_same_on_every_file_system(tmp_path):
    decomposed = unicodedata.normalize("NFD", "Bücher")
    write_classes(tmp_path, {decomposed: 1, "a": 1})
    records = read_class_folders(tmp_path)["all"]
    assert records.class_names == ("a", unicodedata.normalize("NFC", "Bücher"))
    assert records.read(1).shape == (8, 8, 3)  # read by the name that is on the disk


@pytest.mark.parametrize("train", ["train", "Training"])
@pytest.mark.parametrize("validation", ["val", "VALID", "validation", "dev"])
@pytest.mark.parametrize("test", ["test", "Testing"])
def test_split_folders(tmp_path, train, validation, test):
    for number, name in enumerate([test, train, validation]):
        write_classes(tmp_path / name, {"cats": 1 + number, "dogs": 2}, seed=number)
    by_split = read_class_folders(tmp_path)
    assert list(by_split) == ["train", "validation", "test"]
    assert [len(records) for records in by_split.values()] == [4, 5, 3]
    assert by_split["train"].paths[0] == f"{train}/cats/0.png"
    assert by_split["train"].class_names == ("cats", "dogs")


def test_train_alone_is_a_split(tmp_path):
    write_classes(tmp_path / "train", {"cats": 1, "dogs": 1})
    assert list(read_class_folders(tmp_path)) == ["train"]


def test_a_class_may_be_called_train(tmp_path):
    write_classes(tmp_path, {"car": 1, "train": 2, "test": 1})
    records = read_class_folders(tmp_path)["all"]
    assert records.class_names == ("car", "test", "train")


def test_splits_beside_classes_are_refused(tmp_path):
    write_classes(tmp_path / "train", {"cats": 1})
    write_classes(tmp_path / "test", {"cats": 1})
    write_classes(tmp_path, {"more": 1})
    assert error_of(tmp_path) == (
        f"{tmp_path} holds test, train, which are splits with class folders in them, and also "
        f"more with images. Put every class folder into a split, or move more out of {tmp_path}."
    )


def test_two_folders_for_one_split_are_refused(tmp_path):
    for name in ("train", "val", "validation"):
        write_classes(tmp_path / name, {"cats": 1, "dogs": 1})
    assert error_of(tmp_path) == (
        f"{tmp_path} holds val and validation: both mean the validation split. "
        f"Keep one of them, or put their class folders together."
    )


def test_splits_without_classes_are_refused(tmp_path):
    write_classes(tmp_path, {"train": 2, "test": 1})
    assert error_of(tmp_path) == (
        f"{tmp_path} holds test, train with images directly in them; a split holds one folder "
        f"for each class, such as test/cats/1.jpg. Sort the images into class folders."
    )


@pytest.mark.parametrize("classes", [{}, {"cats": 1}])
def test_images_in_no_class_folder_are_refused(tmp_path, classes):
    write_classes(tmp_path, classes)
    for name in ("a.jpg", "b.png"):
        (tmp_path / name).write_bytes(encoded(noise()))
    assert error_of(tmp_path) == (
        f"2 images lie directly in {tmp_path}, in no class folder: a.jpg, b.png. Every image must "
        f"lie in a folder named for its class, such as {tmp_path.name}/cats/1.jpg. "
        f"Move or remove what lies outside."
    )


def test_images_in_a_split_but_in_no_class_folder_are_refused(tmp_path):
    write_classes(tmp_path / "train", {"cats": 1, "dogs": 1})
    (tmp_path / "train" / "loose.png").write_bytes(encoded(noise()))
    write_classes(tmp_path / "test", {"cats": 1, "dogs": 1})
    assert error_of(tmp_path) == (
        f"1 image lies directly in {tmp_path / 'train'}, in no class folder: loose.png. Every "
        f"image must lie in a folder named for its class, such as train/cats/1.jpg. "
        f"Move or remove what lies outside."
    )


def test_an_empty_folder_says_what_was_looked_for(tmp_path):
    assert error_of(tmp_path) == (
        f"no images found in {tmp_path}: files end in .jpg, .jpeg, .jfif, .png, .webp, .gif, "
        f".bmp, .tif, .tiff, and lie in a folder named for their class, such as "
        f"{tmp_path.name}/cats/1.jpg. "
        f"Found instead: no files at all."
    )


def test_a_folder_of_other_files_says_what_is_there(tmp_path):
    write_classes(tmp_path, {"cats": 0})
    for index in range(3):
        (tmp_path / "cats" / f"{index}.HEIC").touch()
    (tmp_path / "README").touch()
    assert "Found instead: 3 .heic, 1 without an ending." in error_of(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every folder")
def test_a_folder_that_may_not_be_opened(tmp_path):
    write_classes(tmp_path, {"cats": 1})
    (tmp_path / "cats").chmod(0)
    try:
        assert "cats cannot be opened: permission denied." in error_of(tmp_path)
    finally:
        (tmp_path / "cats").chmod(0o700)


def test_images_below_searches_through(tmp_path):
    write_classes(tmp_path / "b", {"c": 1})
    write_classes(tmp_path, {"a": 1})
    assert list(images_below(tmp_path)) == ["a/0.png", "b/c/0.png"]


def test_natural_order():
    names = ["b1", "a10", "a9", "A9", "a", "10", "9", "09", ""]
    assert sorted(names, key=natural_order) == ["", "09", "9", "10", "a", "A9", "a9", "a10", "b1"]


@pytest.mark.parametrize(
    ("name", "split"), [("TRAIN", "train"), ("val", "validation"), ("tests", None), ("", None)]
)
def test_split_called(name, split):
    assert split_called(name) == split


def test_a_name_that_is_no_text_is_refused_before_anything_is_written(tmp_path):
    place = tmp_path / "photos" / "cats"
    place.mkdir(parents=True)
    try:
        (place / os.fsdecode(b"caf\xe9.jpg")).touch()
    except OSError:
        pytest.skip("this file system takes no such name")
    with pytest.raises(InputError, match=r"caf.*is not in UTF-8. Rename it"):
        read_class_folders(tmp_path / "photos")


def test_what_lacvit_wrote_among_the_classes_is_no_class(tmp_path):
    write_classes(tmp_path, {"cats": 2, "dogs": 2, "runs/photos-s0/figures": 1, "mine/figures": 1})
    for name in ("status.json", "settings.toml"):
        (tmp_path / "runs/photos-s0" / name).touch()
    (records,) = read_class_folders(tmp_path).values()
    assert records.class_names == ("cats", "dogs", "mine")
    assert left_out(tmp_path) == []


def test_images_that_are_not_read_are_told_of(tmp_path):
    write_classes(tmp_path, {"cats": 2, "dogs": 0, "cats/deeper": 1})
    for name in ("a.heic", "b.HEIC", "c.avif", "notes.txt", ".d.heic"):
        (tmp_path / "cats" / name).touch()
    assert left_out(tmp_path) == [
        "Not read, by their ending: 2 .heic, 1 .avif. Convert them to JPEG or PNG.",
        "Folders without an image that is read: dogs.",
    ]
    assert notices(tmp_path, None, read_data(tmp_path)) == tuple(left_out(tmp_path))


def test_nothing_is_told_of_a_folder_that_is_read_whole(tmp_path):
    write_classes(tmp_path, {"cats": 2, "dogs": 1})
    (tmp_path / "README").touch()
    assert left_out(tmp_path) == []
