"""What runs share is made once, and changes nothing."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from digit_folders import write_split_folder
from lacvit import pipeline, shared
from lacvit.config import make_settings
from lacvit.data import records as records_module
from lacvit.data.batches import hold
from lacvit.data.decoding import decode_image
from lacvit.data.records import records_from_arrays
from lacvit.shared import Shared
from lacvit.training.logs import Silence

# lacvit-finetune probes an encoder that is untouched no more.
METHODS = ("linear-probe", "lacvit-finetune")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "digits"
    return write_split_folder(folder, {"train": 4, "val": 2, "test": 5})


def trained(data: Path, folder: Path, method: str, with_others: Shared | None) -> dict:
    """All weights and test features of a run."""
    settings = make_settings(
        recipe={
            "data.path": str(data), "method": method, "backbone.spec": "pico", "precision": "fp32",
            "contrastive.epochs": 2, "cross_entropy.share_of_passes": 0.5, "head.strengths": [1.0],
            "workers": 1,
        }
    )  # fmt: skip
    request = pipeline.Request(output=folder, report=False)
    pipeline.train(settings, request, shared=with_others)
    weights = load_file(folder / "model" / "model.safetensors")
    features = load_file(folder / "evaluation" / "features" / "test.safetensors")
    return weights | {f"features.{name}": array for name, array in features.items()}


def test_shared_runs_are_those_that_run_alone(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded, encoded = [], []
    real_hold, real_encode = shared.hold, shared.encode_images
    monkeypatch.setattr(
        shared, "hold", lambda records, workers: decoded.append(1) or real_hold(records)
    )
    monkeypatch.setattr(
        shared, "encode_images", lambda *args: encoded.append(1) or real_encode(*args)
    )
    together = Shared()
    found = {name: trained(digits, tmp_path / name, name, together) for name in METHODS}
    assert len(decoded) == 3, "train, validation and test"
    assert len(encoded) == 3, "the untouched features of each"
    for name in METHODS:
        alone = trained(digits, tmp_path / "alone" / name, name, None)
        assert alone.keys() == found[name].keys()
        for key, array in alone.items():
            np.testing.assert_array_equal(array, found[name][key], err_msg=f"{name}: {key}")


def test_a_run_decodes_each_image_once(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look for unreadable ones is the one: what it decodes is what is trained on."""
    decoded = []
    monkeypatch.setattr(
        records_module, "decode_image", lambda payload: decoded.append(1) or decode_image(payload)
    )
    trained(digits, tmp_path / "run", "linear-probe", None)
    assert len(decoded) == len(list(digits.rglob("*.png"))) == 33


def test_images_are_looked_through_once_however_they_are_divided(
    digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    monkeypatch.setattr(
        records_module, "decode_image", lambda payload: decoded.append(1) or decode_image(payload)
    )
    together = Shared()
    drawn = [
        together.splits(
            make_settings(recipe={"data.path": str(digits), "data.shots": 2, "seed": seed}),
            Silence(),
        )
        for seed in range(3)
    ]
    assert len(decoded) == 33
    assert len({splits.train.paths for splits in drawn}) > 1
    whole = together.splits(make_settings(recipe={"data.path": str(digits)}), Silence())
    assert len(whole.train) == 12
    assert len(decoded) == 33


def test_the_oldest_make_room() -> None:
    records = [
        records_from_arrays(np.full((4, 8, 8, 3), value, np.uint8), [0, 0, 1, 1], ["a", "b"])
        for value in range(3)
    ]
    room = Shared(kept_bytes=2 * hold(records[0]).kept.nbytes)
    first, second = (room.images(records[i], 1) for i in (0, 1))
    assert room.images(records[0], 1) is first
    room.images(records[2], 1)  # the second was asked for longest ago
    assert room.images(records[0], 1) is first
    assert room.images(records[1], 1) is not second


def test_what_takes_no_room_makes_none() -> None:
    room = Shared(kept_bytes=10)
    sizes = {"read": 0, "splits": 0, "first": 8, "second": 8, "large": 11}
    made = {
        name: room._once(name, lambda name=name: name, lambda _, size=size: size)
        for name, size in sizes.items()
    }
    assert made == {name: name for name in sizes}
    assert list(room._kept) == ["read", "splits", "large"]
