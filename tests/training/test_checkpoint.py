"""Checkpoints: bitwise round trips, damage that is noticed, kills that lose nothing."""

import errno
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from lacvit.errors import InputError
from lacvit.training import checkpoint
from lacvit.training.optim import ParameterGroup, build_optimizer, set_learning_rates


def made(
    kind: str = "adamw", seed: int = 0, width: int = 5
) -> tuple[Mapping[str, nn.Module], torch.optim.Optimizer]:
    torch.manual_seed(seed)
    modules = {"backbone": nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width)),
               "back": nn.Linear(width, 2)}  # fmt: skip
    parameters = tuple(p for module in modules.values() for p in module.parameters())
    group = ParameterGroup(tuple(map(str, range(len(parameters)))), parameters, 0.5, 0.05)
    return modules, build_optimizer([group], kind)


def take_steps(modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, n: int) -> None:
    draw = torch.Generator().manual_seed(n)
    for _ in range(n):
        set_learning_rates(optimizer, 0.01)
        optimizer.zero_grad()
        x = torch.randn(6, 3, generator=draw)
        modules["back"](modules["backbone"](x)).square().mean().backward()
        optimizer.step()


def tensors(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    return {f"{m}.{k}": v for m, module in modules.items() for k, v in module.state_dict().items()}


def assert_bitwise(one: Mapping[str, nn.Module], other: Mapping[str, nn.Module]) -> None:
    first, second = tensors(one), tensors(other)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("steps", [0, 3])
def test_a_round_trip_is_bitwise_and_goes_on_alike(kind: str, steps: int, tmp_path: Path) -> None:
    modules, optimizer = made(kind)
    take_steps(modules, optimizer, steps)
    checkpoint.save(tmp_path, 4, modules, optimizer)
    others, other_optimizer = made(kind, seed=1)
    assert checkpoint.restore(tmp_path, others, other_optimizer) == 4
    assert_bitwise(modules, others)
    take_steps(modules, optimizer, 2)
    take_steps(others, other_optimizer, 2)
    assert_bitwise(modules, others)


def test_without_a_checkpoint_nothing_is_loaded(tmp_path: Path) -> None:
    modules, optimizer = made()
    before = {name: tensor.clone() for name, tensor in tensors(modules).items()}
    assert checkpoint.restore(tmp_path / "absent", modules, optimizer) == 0
    assert all(torch.equal(before[name], tensor) for name, tensor in tensors(modules).items())


def test_only_the_newest_is_kept_and_nothing_is_pickled(tmp_path: Path) -> None:
    modules, optimizer = made()
    for epoch in (1, 2, 10):
        take_steps(modules, optimizer, 1)
        checkpoint.save(tmp_path, epoch, modules, optimizer)
    (place,) = tmp_path.iterdir()
    assert place.name == "epoch-00010"
    assert sorted(p.name for p in place.iterdir()) == [
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
    ]


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("damage", ["flip", "cut", "missing"])
def test_a_damaged_file_is_refused_before_anything_is_loaded(
    name: str, damage: str, tmp_path: Path
) -> None:
    modules, optimizer = made()
    take_steps(modules, optimizer, 1)
    checkpoint.save(tmp_path, 1, modules, optimizer)
    path = tmp_path / "epoch-00001" / name
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    else:
        content[-1] ^= 1
        path.write_bytes(content if damage == "flip" else content[:-4])
    others, other_optimizer = made(seed=1)
    before = {key: tensor.clone() for key, tensor in tensors(others).items()}
    with pytest.raises(InputError) as refused:
        checkpoint.restore(tmp_path, others, other_optimizer)
    assert str(refused.value) == (
        f"{path} is damaged: its sha256 is not the one recorded. "
        f"Delete {tmp_path} to train that stage again."
    )
    assert all(torch.equal(before[key], tensor) for key, tensor in tensors(others).items())


def test_another_network_is_refused(tmp_path: Path) -> None:
    modules, optimizer = made()
    checkpoint.save(tmp_path, 1, modules, optimizer)
    with pytest.raises(InputError, match="epoch-00001 was made by another network: "):
        checkpoint.restore(tmp_path, *made(width=6))


@pytest.mark.parametrize("where", ["save_file", "_sha256", "_flush"])
@pytest.mark.parametrize(
    "failure",
    [
        KeyboardInterrupt(),
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("full"),
    ],
)
def test_a_failure_at_any_moment_leaves_the_older_one(
    where: str, failure: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules, optimizer = made()
    take_steps(modules, optimizer, 1)
    checkpoint.save(tmp_path, 1, modules, optimizer)
    kept, kept_optimizer = made(seed=1)
    checkpoint.restore(tmp_path, kept, kept_optimizer)
    take_steps(modules, optimizer, 1)
    real, calls = getattr(checkpoint, where), []

    def second_time_fails(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 2:
            raise failure
        return real(*arguments)

    monkeypatch.setattr(checkpoint, where, second_time_fails)
    if isinstance(failure, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(tmp_path, 2, modules, optimizer)
    else:
        with pytest.raises(InputError, match="The checkpoint before it is whole: free some space"):
            checkpoint.save(tmp_path, 2, modules, optimizer)
        assert [place.name for place in tmp_path.iterdir()] == ["epoch-00001"]
    monkeypatch.undo()
    others, other_optimizer = made(seed=2)
    assert checkpoint.restore(tmp_path, others, other_optimizer) == 1
    assert_bitwise(others, kept)
    checkpoint.save(tmp_path, 2, modules, optimizer)  # over what the failure left
    assert [place.name for place in tmp_path.iterdir()] == ["epoch-00002"]


def test_a_full_disk_in_the_first_epoch_leaves_nothing_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(InputError) as refused:
        checkpoint.save(tmp_path, 1, *made())
    assert str(refused.value) == (
        f"{tmp_path / 'epoch-00001'} cannot be written: No space left on device. "
        "Free some space and give the same command again."
    )


def test_a_kill_before_the_older_one_is_removed_leaves_two_and_the_newer_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules, optimizer = made()
    checkpoint.save(tmp_path, 1, modules, optimizer)

    def killed(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "_whole", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, 2, modules, optimizer)
    monkeypatch.undo()
    assert len(list(tmp_path.iterdir())) == 2
    assert checkpoint.restore(tmp_path, *made(seed=1)) == 2


def test_the_state_is_readable_by_hand(tmp_path: Path) -> None:
    modules, optimizer = made()
    checkpoint.save(tmp_path, 3, modules, optimizer)
    state = json.loads((tmp_path / "epoch-00003" / "state.json").read_text())
    assert state["epoch"] == 3
    assert {len(value) for value in state["sha256"].values()} == {64}
