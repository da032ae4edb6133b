"""Which device, at which precision, and what is said where there is none."""

import time

import pytest
import torch

from lacvit.config import all_keys
from lacvit.devices import autocast, faster_precision, find_device, memory_told, wait_for
from lacvit.errors import InputError

CPU = torch.device("cpu")


@pytest.fixture
def only_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("only_a_cpu")
@pytest.mark.parametrize("name", ["auto", "cpu"])
def test_a_cpu_is_always_there(name: str) -> None:
    assert find_device(name) == CPU


@pytest.mark.usefixtures("only_a_cpu")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps", "gpu", "", "meta", "cuda:x", "xpu"])
def test_a_device_that_is_not_here_is_refused(name: str) -> None:
    with pytest.raises(InputError) as refused:
        find_device(name)
    assert str(refused.value) == (
        f"There is no device {name!r} here. This machine has: auto, cpu. Choose one with --device."
    )


@pytest.mark.usefixtures("two_gpus")
def test_gpus_are_counted() -> None:
    assert find_device("auto") == find_device("cuda") == torch.device("cuda")
    assert find_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(InputError, match=r"This machine has: auto, cpu, cuda:0, cuda:1\."):
        find_device("cuda:2")


def test_an_apple_gpu_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert find_device("auto") == find_device("mps") == torch.device("mps")


def test_autocast_is_on_for_bfloat16_alone() -> None:
    x = torch.ones(2, 2)
    with autocast(CPU, "bf16"):
        assert (x @ x).dtype == torch.bfloat16
    with autocast(CPU, "fp32"):
        assert (x @ x).dtype == torch.float32


@pytest.mark.parametrize(
    ("slow_in_bf16", "slow_in_fp32", "expected"),
    [(0.02, 0.0, "fp32"), (0.0, 0.02, "bf16"), (0.02, 0.02, "fp32")],
)
def test_the_faster_precision_is_measured(
    slow_in_bf16: float, slow_in_fp32: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)  # no clock that a busy machine bends

    def step() -> None:
        nonlocal now
        now += slow_in_bf16 if torch.is_autocast_enabled("cpu") else slow_in_fp32
        now += 0.001

    precision, seconds = faster_precision(step, CPU)
    assert precision == expected
    assert seconds == {
        "fp32": pytest.approx(slow_in_fp32 + 0.001),
        "bf16": pytest.approx(slow_in_bf16 + 0.001),
    }


def test_waiting_for_a_cpu_is_nothing() -> None:
    wait_for(CPU)


def test_a_device_that_is_too_small_says_what_to_do() -> None:
    with pytest.raises(InputError) as told, memory_told():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")
    said = str(told.value)
    assert "(CUDA out of memory)" in said
    for key in ("joint.micro_batch", "backbone.gradient_checkpointing", "evaluation.batch_size"):
        assert key in said
        assert key in all_keys()
