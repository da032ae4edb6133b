"""Public sets by name, on miniature copies in the layouts of their official archives."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

import set_trees
from lacvit.data.named_sets import NAMED_SETS, count_notices, names_a_set, read_named_set
from lacvit.data.readers import notices, read_data
from lacvit.data.records import ImageRecords
from lacvit.errors import InputError
from set_trees import TREES, cifar_rows, python2_pickle, write_lines, write_picture

Change = Callable[[Path], object]

# Set -> images a split, and classes, of its miniature copy.
MINIATURES = {
    "cifar10": ({"train": 15, "test": 3}, ("airplane", "automobile", "bird")),
    "cifar100": ({"train": 6, "test": 6}, ("apple", "bee", "cup")),
    "cub200": ({"train": 12, "test": 6}, ("001.Bird_Z", "002.Bird_Y", "003.Bird_X")),
    "flowers102": ({"train": 6, "validation": 6, "test": 6}, ("1", "2", "3")),
    "oxford-pets": (
        {"train": 12, "test": 6},
        ("Abyssinian", "american_bulldog", "american_pit_bull_terrier"),
    ),
    "stanford-cars": (
        {"train": 4, "test": 4},
        ("AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012"),
    ),
    "caltech256": ({"all": 24}, ("001.ak47", "056.dog", "198.spider", "257.clutter")),
    "imagenet-1k": ({"train": 12, "test": 6}, ("n01440764", "n02084071", "n09999999")),
}


def refusal(name: str, root: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_data(name, root)
    return str(caught.value)


def labelled(records: ImageRecords) -> dict[str, str]:
    """Path -> class name."""
    names = [records.class_names[label] for label in records.labels]
    return dict(zip(records.paths, names, strict=True))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    for write in TREES.values():
        write(folder)
    return folder


@pytest.mark.parametrize("name", NAMED_SETS)
def test_splits_and_classes_are_the_sets_own(name: str, root: Path) -> None:
    by_split = read_data(name, root)
    counts, classes = MINIATURES[name]
    assert {split: len(records) for split, records in by_split.items()} == counts
    assert {records.class_names for records in by_split.values()} == {classes}
    for records in by_split.values():
        assert all(records.read(i).ndim == 3 for i in range(len(records)))  # grey, CMYK, PNG too


@pytest.mark.parametrize("name", NAMED_SETS)
def test_the_root_may_be_the_sets_own_folder(name: str, tmp_path: Path) -> None:
    folder = TREES[name](tmp_path)
    assert read_data(name, folder).keys() == read_data(name, tmp_path).keys()


@pytest.mark.parametrize(
    ("name", "split", "path", "class_name"),
    [
        ("cifar10", "train", "data_batch_2/00001", "bird"),
        ("cifar100", "test", "test/00004", "bee"),
        ("cub200", "train", "images/001.Bird_Z/Bird_0_3.jpg", "001.Bird_Z"),
        ("cub200", "test", "images/002.Bird_Y/Bird_1_4.jpg", "002.Bird_Y"),
        ("flowers102", "validation", "jpg/image_00008.jpg", "2"),
        ("oxford-pets", "test", "images/american_bulldog_6.jpg", "american_bulldog"),
        ("stanford-cars", "test", "cars_test/00002.jpg", "AM General Hummer SUV 2000"),
        ("caltech256", "all", "056.dog/056_0006.jpg", "056.dog"),
        ("imagenet-1k", "train", "train/n02084071/n02084071_3.JPEG", "n02084071"),
        ("imagenet-1k", "test", "val/n02084071/ILSVRC2012_val_00000005.JPEG", "n02084071"),
    ],
)
def test_an_image_has_its_official_split_and_class(
    name: str, split: str, path: str, class_name: str, root: Path
) -> None:
    assert labelled(read_data(name, root)[split])[path] == class_name


def test_cifars_pixels_are_planes_of_colour(root: Path) -> None:
    records = read_data("cifar10", root)["test"]
    planes = cifar_rows(3, seed=5)[1].reshape(3, 32, 32)
    np.testing.assert_array_equal(records.read(1), np.moveaxis(planes, 0, 2))


def test_flat_validation_images_take_the_devkits_ground_truth(tmp_path: Path) -> None:
    set_trees.write_imagenet(tmp_path, flat=True)
    found = labelled(read_data("imagenet-1k", tmp_path)["test"])
    assert [found[f"val/ILSVRC2012_val_{n:08d}.JPEG"] for n in range(1, 5)] == [
        "n01440764", "n02084071", "n09999999", "n01440764",
    ]  # fmt: skip


def test_counts_unlike_the_published_ones_are_told_with_both(root: Path) -> None:
    by_split = read_data("cub200", root)
    text = (
        "cub200 is not the whole CUB-200-2011: it has 12 train images instead of 5,994, "
        "6 test images instead of 5,794, 3 classes instead of 200."
    )
    assert notices("cub200", root, by_split) == (text,)
    assert notices(root / "CUB_200_2011", None, by_split) == ()


def test_the_published_counts_are_these() -> None:
    counts = {name: dict(entry.counts) for name, entry in NAMED_SETS.items()}
    assert counts["cub200"] == {"train": 5994, "test": 5794}
    assert counts["flowers102"] == {"train": 1020, "validation": 1020, "test": 6149}
    assert counts["oxford-pets"] == {"train": 3680, "test": 3669}
    assert counts["stanford-cars"] == {"train": 8144, "test": 8041}
    assert counts["caltech256"] == {"all": 30607}


def test_whole_counts_are_passed_over() -> None:
    whole = {
        split: ImageRecords(
            source=None,  # type: ignore[arg-type]
            paths=tuple(map(str, range(count))),
            labels=np.arange(count) % 37,
            class_names=tuple(map(str, range(37))),
        )
        for split, count in NAMED_SETS["oxford-pets"].counts.items()
    }
    assert count_notices("oxford-pets", whole) == []


@pytest.mark.parametrize("name", NAMED_SETS)
def test_an_absent_set_says_where_to_get_and_put_it(name: str, tmp_path: Path) -> None:
    text = refusal(name, tmp_path)
    entry = NAMED_SETS[name]
    expected = tmp_path / entry.folders[0]
    assert text.startswith(f"{name} ({entry.title}) was not found: {expected} does not exist. Get ")
    assert entry.source in text
    assert f"unpack it so that {expected} holds {entry.needs[0]}" in text
    assert ("let torchvision do so with --download" in text) == entry.downloads
    assert text.endswith(f"give the folder that holds {entry.folders[0]} as --root (data.root).")


def test_a_set_of_which_a_part_is_missing_names_it(tmp_path: Path) -> None:
    (set_trees.write_flowers102(tmp_path) / "setid.mat").unlink()
    assert "flowers-102 lacks setid.mat. Get " in refusal("flowers102", tmp_path)


def damage_cub_split(folder: Path) -> None:
    lines = (folder / "train_test_split.txt").read_text().splitlines()
    write_lines(folder / "train_test_split.txt", lines[:-1])


def damage_cub_images(folder: Path) -> None:
    lines = (folder / "images.txt").read_text().splitlines()
    write_lines(folder / "images.txt", [*lines[:-1], f"{len(lines)} {lines[0].split()[1]}"])


def move_a_flower(folder: Path) -> None:
    ids = np.array([[1, 2, 3]])
    savemat(folder / "setid.mat", {"trnid": ids, "valid": ids + 3, "tstid": ids + 5})


def write_code(folder: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (folder / "attacked",))

    (folder / "test_batch").write_bytes(pickle.dumps({"data": Attack()}))


def forget_a_class(folder: Path) -> None:
    for file in (folder / "train" / "n09999999").iterdir():
        file.unlink()
    (folder / "train" / "n09999999").rmdir()


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("cub200", damage_cub_split, "do not list the same images: 18 is in one of them only"),
        (
            "cub200",
            damage_cub_images,
            "the lists of CUB-200-2011 name images/001.Bird_Z/Bird_0_0.jpg more than once",
        ),
        (
            "cub200",
            lambda folder: write_lines(folder / "classes.txt", ["1 a", "2 b"]),
            "image_class_labels.txt has 3, which is none of 1, 2",
        ),
        (
            "cub200",
            lambda folder: write_lines(folder / "classes.txt", ["1 a", "1 b"]),
            "classes.txt lists 1 more than once",
        ),
        ("flowers102", move_a_flower, "name jpg/image_00006.jpg more than once"),
        (
            "flowers102",
            lambda folder: savemat(folder / "imagelabels.mat", {"labels": [[1, 2]]}),
            "names image 3 in trnid, but imagelabels.mat labels images 1 to 2",
        ),
        (
            "flowers102",
            lambda folder: savemat(folder / "imagelabels.mat", {"x": [[1, 2]]}),
            "imagelabels.mat holds no 'labels'. Get the file again",
        ),
        (
            "flowers102",
            lambda folder: (folder / "setid.mat").write_bytes(b"<!doctype html>"),
            "setid.mat cannot be read: ",
        ),
        (
            "oxford-pets",
            lambda folder: write_lines(folder / "annotations" / "test.txt", ["Abyssinian_5 1 1"]),
            "has 3 of 4 columns: 'Abyssinian_5 1 1'",
        ),
        (
            "oxford-pets",
            lambda folder: write_lines(folder / "annotations" / "test.txt", ["Birman_5 1 1 1"]),
            "gives Birman_5 the class 1, which is Abyssinian",
        ),
        (
            "oxford-pets",
            lambda folder: write_lines(folder / "annotations" / "test.txt", ["Abyssinian_1 1 1 1"]),
            "name images/Abyssinian_1.jpg more than once, in one split or in two",
        ),
        (
            "stanford-cars",
            lambda folder: savemat(
                folder / "cars_test_annos_withlabels.mat",
                {"annotations": np.zeros((1, 2), dtype=[("fname", object)])},
            ),
            "has annotations without fname and class: the test labels stand in cars_test_annos_",
        ),
        (
            "stanford-cars",
            lambda folder: savemat(
                folder / "devkit" / "cars_meta.mat",
                {"class_names": np.array([["one"]], dtype=object)},
            ),
            "has classes from 1 to 2, but devkit/cars_meta.mat names 1",
        ),
        ("cifar10", write_code, "test_batch would run code when loaded (it needs "),
        (
            "cifar10",
            lambda folder: (folder / "test_batch").write_bytes(b"\x80\x02}q\x00"),
            "cannot be read as a file of CIFAR's Python version: ",
        ),
        (
            "cifar10",
            lambda folder: (folder / "test_batch").write_bytes(
                python2_pickle({b"data": cifar_rows(2, seed=0), b"labels": [0, 3]})
            ),
            "does not hold data of 3072 bytes an image and labels from 0 to 2, one an image",
        ),
        (
            "cifar100",
            lambda folder: (folder / "meta").write_bytes(python2_pickle([b"apple"])),
            "meta holds no dictionary",
        ),
        (
            "cifar100",
            lambda folder: (folder / "meta").write_bytes(python2_pickle({b"names": []})),
            "meta has no list 'fine_label_names'",
        ),
        (
            "imagenet-1k",
            forget_a_class,
            "the test split has n09999999, which the train split has no image of",
        ),
        (
            "imagenet-1k",
            lambda folder: write_picture(folder / "val" / "ILSVRC2012_val_00000009.JPEG", 1),
            "has images in no class folders, and ",
        ),
    ],
)
def test_a_damaged_set_says_what_is_wrong(
    name: str, damage: Change, said: str, tmp_path: Path
) -> None:
    damage(TREES[name](tmp_path))
    assert said in refusal(name, tmp_path)
    assert not list(tmp_path.rglob("attacked"))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (forget_a_class, "train lacks the class folders n09999999, of which val has images"),
        (
            lambda folder: write_picture(folder / "val" / "ILSVRC2012_val_00000099.JPEG", 1),
            "ILSVRC2012_val_00000099.JPEG is no image of the 6 that ",
        ),
        (
            lambda folder: write_lines(
                folder / "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt",
                ["7"] * 6,
            ),
            "ground_truth.txt has 7, which is no synset's number of meta.mat",
        ),
    ],
)
def test_a_damaged_devkit_says_what_is_wrong(damage: Change, said: str, tmp_path: Path) -> None:
    damage(set_trees.write_imagenet(tmp_path, flat=True))
    assert said in refusal("imagenet-1k", tmp_path)


def test_every_public_loader_of_code_is_refused() -> None:
    """The pickles of CIFAR may name four things of numpy, and nothing of any other module."""
    from lacvit.data.cifar import INERT

    assert {module.split(".")[0] for module, _ in INERT} == {"numpy"}
    assert {name for _, name in INERT} == {"ndarray", "dtype", "_reconstruct"}


def test_a_path_that_exists_wins_unless_a_root_is_given(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert names_a_set("oxford-pets")
    for name in ("cats", "dogs"):
        write_picture(tmp_path / "oxford-pets" / name / "1.png", 0)
    assert not names_a_set("oxford-pets")
    assert read_data("oxford-pets")["all"].class_names == ("cats", "dogs")
    assert names_a_set("oxford-pets", root)
    assert read_data("oxford-pets", root)["train"].class_names[0] == "Abyssinian"
    assert read_data("./oxford-pets").keys() == {"all"}


def test_without_a_root_the_current_folder_is_searched(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    assert len(read_named_set("cub200")["train"]) == 12


def test_a_root_beside_a_path_is_refused(root: Path) -> None:
    assert refusal("holiday", root).startswith(
        "--root (data.root) says where a set named by DATA lies, but holiday is no set's name. "
        "Leave it out, or name one of cifar10, cifar100, cub200, "
    )


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("CUB200", "Did you mean cub200?"),
        ("cifar-10", "Did you mean cifar10?"),
        ("oxford_pets", "Did you mean oxford-pets?"),
        ("photos", "or the name of a set with --root: cifar10, cifar100, cub200, "),
    ],
)
def test_a_name_that_is_nearly_right_is_corrected(data: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read_data(data)
    assert said in str(caught.value)
