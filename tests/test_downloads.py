"""Fetching public sets: what torchvision can, on request; here without any network."""

from pathlib import Path

import pytest

from lacvit import downloads
from lacvit.data.named_sets import NAMED_SETS
from lacvit.errors import InputError
from set_trees import write_cifar100


def refusal(data: str, root: Path) -> str:
    with pytest.raises(InputError) as caught:
        downloads.fetch(data, root)
    return str(caught.value)


def test_messages_offer_what_can_be_downloaded() -> None:
    assert set(downloads.DOWNLOADS) == {n for n, entry in NAMED_SETS.items() if entry.downloads}


@pytest.mark.parametrize(
    ("name", "builder"),
    [
        ("cifar10", "CIFAR10"),
        ("cifar100", "CIFAR100"),
        ("flowers102", "Flowers102"),
        ("oxford-pets", "OxfordIIITPet"),
        ("caltech256", "Caltech256"),
    ],
)
def test_torchvision_is_asked_for_the_set(
    name: str, builder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Path, bool]] = []

    def note(root: Path, download: bool) -> None:
        asked.append((root, download))

    monkeypatch.setattr(downloads.datasets, builder, note)
    assert downloads.fetch(name, tmp_path / "new")
    assert asked == [(tmp_path / "new", True)]


def test_what_is_there_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "DOWNLOADS", {})
    write_cifar100(tmp_path)
    assert not downloads.fetch("cifar100", tmp_path)


@pytest.mark.parametrize("error", [OSError("no route to host"), RuntimeError("File not found")])
def test_a_failed_download_says_what_to_do(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(root: Path) -> None:
        raise error

    monkeypatch.setattr(downloads, "DOWNLOADS", {"cifar10": fail})
    assert refusal("cifar10", tmp_path) == (
        f"cifar10 could not be downloaded: {error}. Get {NAMED_SETS['cifar10'].source}, and "
        f"unpack it in {tmp_path}."
    )


@pytest.mark.parametrize("name", ["cub200", "stanford-cars", "imagenet-1k"])
def test_what_torchvision_cannot_fetch_is_said(name: str, tmp_path: Path) -> None:
    assert refusal(name, tmp_path).startswith(
        f"{name} cannot be downloaded: torchvision has no working address for it. Get "
    )


def test_only_names_are_downloaded(tmp_path: Path) -> None:
    assert refusal("photos", tmp_path).startswith(
        "--download fetches a set by its name, and photos is none"
    )
