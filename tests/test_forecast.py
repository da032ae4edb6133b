"""What a run is foreseen to cost, alone and among several processes."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lacvit import forecast as forecasts
from lacvit.backbones import Backbone, load_backbone
from lacvit.config import RunSettings, make_settings
from lacvit.data.draws import share
from lacvit.forecast import ImageSeconds, describe, forecast, share_of_epoch, time_backbone

SPLITS: Any = SimpleNamespace(train=range(23), validation=range(10), test=range(40))


@pytest.fixture(scope="module")
def pico() -> Backbone:
    return load_backbone("pico")


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
        # 2 views of 23 images at 3 s and 10 validation images at 1 s, 5 times; the head; the tests.
        ("lacvit", 1, 5 * (2 * 23 * 3 + 10) + (23 + 10) + (2 * 40 + 10)),
        ("lacvit", 2, 5 * (2 * 12 * 3 + 5) + (12 + 5) + (2 * 20 + 5)),
        ("cross-entropy", 3, 5 * (9 * 3 + 4) + (2 * 14 + 4)),  # shares of 3, 3 and 3
        ("linear-probe", 2, (12 + 5) + (2 * 20 + 5)),
    ],
)
def test_processes_share_the_work(
    method: str, processes: int, seconds: int, pico: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecasts, "time_backbone", lambda *_: ImageSeconds(3.0, 1.0))
    if processes > 1:
        monkeypatch.setenv("WORLD_SIZE", str(processes))
    plan = forecast(settings(method), pico, SPLITS)
    assert plan.seconds == pytest.approx(seconds + forecasts.REPORT_SECONDS)
    assert plan.stages[0].steps == (1 if method == "linear-probe" else 5 * 3)  # of all together
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
