"""What `lacvit.train` and `lacvit.compare` make of their arguments."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import lacvit
from lacvit import api
from lacvit.config import (
    ContrastiveSettings,
    DataSettings,
    RunSettings,
    make_settings,
)
from lacvit.errors import InputError
from lacvit.progress import LiveProgress
from lacvit.training.logs import Progress, Silence


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What reached the pipeline instead of being run."""
    found: dict[str, Any] = {}

    def train(settings: RunSettings, request: object, *, progress: Progress) -> None:
        found.update(settings=settings, progress=progress)

    def compare(given: Mapping[str, object], request: object, progress: Progress) -> None:
        found.update(given=given, progress=progress)

    monkeypatch.setattr(api.pipeline, "train", train)
    monkeypatch.setattr(api.comparison, "compare", compare)
    return found


@pytest.mark.parametrize("method", ["cross-entropy-paper", "lacvit-finetune", "simclr", "npair"])
def test_settings_given_by_hand_leave_a_method_its_own(
    method: str, asked: dict[str, Any], tmp_path: Path
) -> None:
    by_name = make_settings(flags={"data.path": "photos", "method": method, "seed": 1})
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("seed = 1\n")
    for given in (RunSettings(seed=1), {"seed": 1}, recipe, str(recipe)):
        lacvit.train("photos", method=method, settings=given)
        assert asked["settings"] == by_name


def test_settings_given_by_hand_leave_the_default_method(asked: dict[str, Any]) -> None:
    lacvit.train("photos", settings=RunSettings(contrastive=ContrastiveSettings(epochs=7)))
    assert asked["settings"].method == "auto"
    assert asked["settings"].contrastive.epochs == 7
    lacvit.train("photos", settings={"joint": {"lr": 0.1}, "head.fit_on": "train"})
    assert asked["settings"].method == "auto"
    assert (asked["settings"].joint.lr, asked["settings"].head.fit_on) == (0.1, "train")


def test_compare_takes_the_same(asked: dict[str, Any]) -> None:
    for given in (
        RunSettings(seed=1, data=DataSettings(shots=3, strict=True)),
        {"seed": 1, "data.shots": 3, "data.strict": True},
    ):
        lacvit.compare("photos", settings=given)
        assert asked["given"] == {"data.path": "photos", "data.strict": True}


def test_progress_is_shown_unless_it_is_not_wanted(asked: dict[str, Any]) -> None:
    lacvit.train("photos")
    assert isinstance(asked["progress"], LiveProgress)
    lacvit.compare("photos", progress=False)
    assert isinstance(asked["progress"], Silence)


def test_a_setting_that_is_none_is_named(asked: dict[str, Any]) -> None:
    with pytest.raises(InputError) as refused:
        lacvit.train("photos", settings={"epochs": 3})
    assert str(refused.value) == (
        "There is no setting 'epochs'. Of that name there are contrastive.epochs, "
        "cross_entropy.epochs, joint.epochs, head.epochs."
    )
