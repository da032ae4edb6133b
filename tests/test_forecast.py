"""What a run is foreseen to cost, alone and among several processes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from digit_folders import write_split_folder
from lacvit import features, pipeline
from lacvit import forecast as forecasts
from lacvit.backbones import Backbone, load_backbone
from lacvit.config import RunSettings, make_settings
from lacvit.data.draws import share
from lacvit.forecast import (
    ImageSeconds,
    describe,
    forecast,
    multiply,
    share_of_epoch,
    time_backbone,
)
from lacvit.reading import read_splits
from lacvit.run_folder import RunFolder
from lacvit.training.logs import Silence

SPLITS: Any = SimpleNamespace(train=range(23), validation=range(10), test=range(40))


@pytest.fixture(scope="module")
def pico() -> Backbone:
    return load_backbone("pico")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "digits"
    return write_split_folder(folder, {"train": 5, "val": 3, "test": 7}, classes=3)


def settings(method: str = "lacvit") -> RunSettings:
    return make_settings(
        recipe={
            "method": method,
            "device": "cpu",
            "contrastive.epochs": 5,
            "contrastive.batch_size": 8,
            "cross_entropy.epochs": 5,
            "cross_entropy.batch_size": 8,
        }
    )


@pytest.mark.parametrize("processes", [1, 2, 3, 7, 30])
@pytest.mark.parametrize(("n", "batch_size"), [(23, 8), (24, 8), (5, 8), (100, 1)])
def test_every_step_waits_for_the_largest_share(n: int, batch_size: int, processes: int) -> None:
    steps = [np.arange(n)[start : start + batch_size] for start in range(0, n, batch_size)]
    longest = [max(len(share(s, r, processes)) for r in range(processes)) for s in steps]
    assert share_of_epoch(n, batch_size, processes) == sum(longest)


@pytest.mark.parametrize(
    ("method", "processes", "seconds"),
    [
        # 2 views of 23 images at 3 s and 10 validation images at 1 s, 5 times; the head; the tests
        # by both encoders, and training images by the untouched one.
        ("lacvit", 1, 5 * (2 * 23 * 3 + 10) + (23 + 10) + (2 * 40 + 23)),
        ("lacvit", 2, 5 * (2 * 12 * 3 + 5) + (12 + 5) + (2 * 20 + 12)),
        # The probe that its head starts from; shares of 3, 3 and 3.
        ("cross-entropy", 3, (8 + 4) + 5 * (9 * 3 + 4) + (2 * 14 + 8 + 4)),
        ("linear-probe", 2, (12 + 5) + 20),
    ],
)
def test_processes_share_the_work(
    method: str, processes: int, seconds: int, pico: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecasts, "time_backbone", lambda *_: ImageSeconds(3.0, 1.0, 1.0))
    if processes > 1:
        monkeypatch.setenv("WORLD_SIZE", str(processes))
    plan = forecast(settings(method), pico, SPLITS)
    assert plan.seconds == pytest.approx(seconds + forecasts.REPORT_SECONDS)
    assert plan.stages[0].steps == (0 if method == "linear-probe" else 5 * 3)  # of all together
    said = "\n".join(describe(plan))
    told = f"Processes: {processes}, each with its share of every batch"
    assert (told in said) is (processes > 1)
    assert ("in each process" in said) is (processes > 1)


@pytest.mark.parametrize(("processes", "images"), [(1, 16), (3, 6)])
def test_a_step_is_timed_on_the_share_of_one_process(
    processes: int, images: int, pico: Backbone
) -> None:
    seen: list[torch.Tensor] = []
    hook = pico.register_forward_hook(lambda module, given, features: seen.append(given[0]))
    timed = time_backbone(settings(), pico, processes)
    hook.remove()
    assert {len(batch) for batch in seen} == {images}
    assert timed.training > timed.encoding > 0


@pytest.mark.parametrize("crops", ["whole", "corners"])
@pytest.mark.parametrize(
    "method", ["linear-probe", "knn", "cross-entropy", "lacvit", "joint-refit", "lacvit-finetune"]
)
def test_as_many_images_are_encoded_as_was_foreseen(
    method: str, crops: str, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    real = features._features

    def counted(backbone: Backbone, images: torch.Tensor, parts: features.Crops | None) -> Any:
        encoded.append(len(images) * (1 if parts is None else len(parts)))
        return real(backbone, images, parts)

    monkeypatch.setattr(features, "_features", counted)
    given = {
        "data.path": str(digits), "method": method, "backbone.spec": "pico", "precision": "fp32",
        "contrastive.epochs": 2, "features.crops": crops,
    }  # fmt: skip
    asked = pipeline.Request(output=tmp_path / "run", report=False)
    pipeline.train(make_settings(recipe=given), asked)
    resolved = RunSettings.model_validate(RunFolder(tmp_path / "run").resolved_settings())
    splits = read_splits(resolved, Silence())
    stages, evaluating = multiply(resolved, splits, ImageSeconds(0.0, encoding=1.0, reading=1.0))
    assert sum(stage.seconds for stage in stages) + evaluating == sum(encoded)
