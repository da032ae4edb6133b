"""Classes taken out of every split, by name or by number."""

from dataclasses import replace

import numpy as np
import pytest
from image_files import noise

from lacvit.data.held_out import hold_out
from lacvit.data.records import ImageRecords, records_from_arrays
from lacvit.data.splits import make_splits, split_manifest
from lacvit.errors import InputError

NAMES = ["cat", "dog", "fox", "owl"]


def records(counts: list[int], name: str = "image") -> ImageRecords:
    labels = np.repeat(np.arange(len(counts)), counts)
    return records_from_arrays([noise()] * len(labels), labels, NAMES, name=name)


def labelled(*parts: ImageRecords) -> dict[str, str]:
    return {
        path: part.class_names[label]
        for part in parts
        for path, label in zip(part.paths, part.labels, strict=True)
    }


def test_held_out_images_leave_every_split_and_keep_their_names() -> None:
    by_split = {"train": records([5, 6, 7, 8], "train"), "test": records([1, 2, 3, 0], "test")}
    kept, held = hold_out(by_split, ("fox", "cat"), 0)
    assert kept["train"].class_names == kept["test"].class_names == ("dog", "owl")
    assert {part.class_names for part in held} == {("cat", "fox")}
    left, taken = labelled(*kept.values()), labelled(*held)
    assert set(taken.values()) == {"cat", "fox"}
    assert set(left.values()) == {"dog", "owl"}
    assert {**left, **taken} == labelled(*by_split.values())


def test_the_manifest_and_the_fingerprint_know_them() -> None:
    kept, held = hold_out({"all": records([5, 6, 7, 8])}, ("fox",), 0)
    splits = make_splits(kept)
    manifest = split_manifest(replace(splits, held_out=held))
    assert manifest["held_out"] == {"class_names": ["fox"], "paths": list(held[0].paths)}
    assert manifest["fingerprint"] != split_manifest(splits)["fingerprint"]
    assert "held_out" not in split_manifest(splits)


def test_a_number_is_drawn_by_the_seed_and_the_names_alone() -> None:
    def drawn(seed: int, counts: list[int]) -> tuple[str, ...]:
        return hold_out({"all": records(counts)}, ("2",), seed)[1][0].class_names

    assert drawn(0, [5, 5, 5, 5]) == drawn(0, [9, 8, 7, 6])
    assert len({drawn(seed, [5, 5, 5, 5]) for seed in range(8)}) > 2
    assert drawn(0, [5, 5, 1, 1]) == ("cat", "dog"), "one image has no neighbour of its class"


def test_a_class_called_by_a_number_wins_over_the_number() -> None:
    digits = records_from_arrays([noise()] * 9, np.repeat([0, 1, 2], 3), ["0", "1", "2"])
    assert hold_out({"all": digits}, ("2",), 0)[1][0].class_names == ("2",)


@pytest.mark.parametrize(
    ("asked", "counts", "said"),
    [
        (("dgo",), [5] * 4, "no class to hold out called dgo. Did you mean dog? The classes are"),
        (("xyz123", "fxo"), [5] * 4, "called xyz123, fxo. Did you mean fox?"),
        (("cat", "dog", "fox"), [5] * 4, "holding out 3 of 4 classes leaves owl; at least 2"),
        (("3",), [5] * 4, "--hold-out-classes is 3; give 1 to 2 of the 4 classes"),
        (("cat",), [1, 5, 5, 5], "too few images to hold out: cat has 1; a held-out class needs"),
        (("0",), [5] * 4, "--hold-out-classes is 0; give 1 to 2 of the 4 classes"),
        (("-1",), [5] * 4, "--hold-out-classes is -1; give 1 to 2"),
        (("9",), [5] * 4, "--hold-out-classes is 9; give 1 to 2"),
        (("2",), [5, 1, 1, 1], "--hold-out-classes is 2; give 1 to 1 of the 4 classes (2 images"),
    ],
)
def test_what_cannot_be_held_out(asked: tuple[str, ...], counts: list[int], said: str) -> None:
    with pytest.raises(InputError) as caught:
        hold_out({"all": records(counts)}, asked, 0)
    assert said in str(caught.value)


def test_a_split_of_which_nothing_is_left() -> None:
    by_split = {"train": records([5] * 4, "train"), "test": records([3, 0, 0, 0], "test")}
    with pytest.raises(InputError, match="the test split has images of cat alone"):
        hold_out(by_split, ("cat",), 0)
