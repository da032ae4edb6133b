import numpy as np
import pytest
from image_files import noise, write_classes

from lacvit.data.faults import Fault, drop_unreadable, find_unreadable
from lacvit.data.readers import read_data
from lacvit.data.records import FileSource, records_from_arrays
from lacvit.errors import InputError


@pytest.fixture
def damaged(tmp_path):
    write_classes(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "a" / "1.png").write_bytes(b"")
    whole = (tmp_path / "b" / "0.png").read_bytes()
    (tmp_path / "b" / "0.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b" / "9.jpg").symlink_to("nowhere")
    return read_data(tmp_path)["all"]


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_unreadable_images_are_found_in_order(damaged, workers):
    faults, _ = find_unreadable(damaged, workers)
    assert [(fault.kind, fault.path, fault.action) for fault in faults] == [
        ("unreadable", "a/1.png", "skipped"),
        ("unreadable", "b/0.png", "skipped"),
        ("unreadable", "b/9.jpg", "skipped"),
    ]
    assert faults[0].reason == "the file is empty"
    assert faults[2].reason == "the link points nowhere"


def test_sound_images_have_no_faults():
    records = records_from_arrays([noise()] * 4, [0, 0, 1, 1], ["a", "b"])
    assert find_unreadable(records, 2)[0] == []
    assert drop_unreadable(records, [], strict=True) is records


@pytest.mark.parametrize(("images", "decoded_again"), [(6, 0), (4, 1), (0, 4)])
def test_what_was_decoded_is_remembered(tmp_path, monkeypatch, images, decoded_again):
    write_classes(tmp_path, {"a": 3, "b": 3})
    records = read_data(tmp_path)["all"]
    _, scanned = find_unreadable(records, 2, remembered_bytes=images * 8 * 8 * 3)
    expected = [records.read(i) for i in range(6)]
    decoded = []
    real = FileSource.pixels
    monkeypatch.setattr(
        FileSource, "pixels", lambda source, i: decoded.append(source.paths[i]) or real(source, i)
    )
    chosen = scanned.select([5, 0, 3, 1])
    for place, index in enumerate((5, 0, 3, 1)):
        np.testing.assert_array_equal(chosen.read(place), expected[index])
    assert len(decoded) == decoded_again
    assert chosen.paths == tuple(records.paths[i] for i in (5, 0, 3, 1))
    assert chosen.fingerprint == records.select([5, 0, 3, 1]).fingerprint


def fault(path: str) -> Fault:
    return Fault("unreadable", path, "skipped", "the file is empty")


def test_up_to_one_per_cent_is_skipped():
    records = records_from_arrays([noise()] * 200, [0, 1] * 100, ["a", "b"])
    kept = drop_unreadable(records, [fault("image-007"), fault("image-199")], strict=False)
    assert len(kept) == 198
    assert "image-007" not in kept.paths
    assert kept.paths[7] == "image-008"


def test_more_than_one_per_cent_is_refused(damaged):
    with pytest.raises(InputError) as caught:
        drop_unreadable(damaged, find_unreadable(damaged)[0], strict=False)
    message = str(caught.value)
    assert message.startswith("3 of 7 images cannot be read: a/1.png (the file is empty), b/0.png")
    assert message.endswith("At most 1% are skipped. Replace or remove them.")


def test_strict_refuses_one():
    records = records_from_arrays([noise()] * 200, [0, 1] * 100, ["a", "b"])
    with pytest.raises(InputError) as caught:
        drop_unreadable(records, [fault("image-007")], strict=True)
    assert str(caught.value) == (
        "1 of 200 images cannot be read: image-007 (the file is empty). "
        "--strict refuses any. Replace or remove them."
    )
