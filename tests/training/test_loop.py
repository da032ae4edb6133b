"""The loop: resuming changes no bit, no epoch stands twice, divergence is told."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from toy_stage import ToyStage

from lacvit.errors import InputError
from lacvit.run_folder import StageFolder
from lacvit.training.logs import Silence
from lacvit.training.loop import LoopPlan, epoch_seed, run_stage

PLAN = LoopPlan(epochs=6, optimizer="adamw", lr=0.05, warmup=0.2, clip_norm=1.0, seed=5)


class Killed(BaseException):
    """Stands for any end of the process."""


class Watcher(Silence):
    """Records what it is told, and ends the process at a given step of a given epoch."""

    def __init__(self, kill: tuple[int, int] | None = None) -> None:
        self.kill, self.epochs, self.begun, self.shares = kill, [], [], []
        self.ended = False

    def begin(self, stage: str, *, epochs: int, done: int) -> None:
        self.begun.append((stage, epochs, done))
        self.now = done

    def step(self, share: float) -> None:
        self.shares.append(share)
        if self.kill is not None and (self.now, len(self.shares) % 3) == self.kill:
            raise Killed

    def epoch(self, epoch: int, scalars: Mapping[str, float]) -> None:
        self.epochs.append(epoch)
        self.now = epoch + 1

    def end(self) -> None:
        self.ended = True


def trained(folder: Path, plan: LoopPlan = PLAN) -> ToyStage:
    stage = ToyStage()
    run_stage(stage, plan, StageFolder(folder), Silence())
    return stage


def lines(folder: Path) -> list[dict[str, float]]:
    text = StageFolder(folder).metrics.read_text()
    return [json.loads(line) for line in text.splitlines()]


def figures(folder: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in line.items() if "seconds" not in k} for line in lines(folder)]


def assert_same_weights(one: ToyStage, other: ToyStage) -> None:
    for name, tensor in one.body.state_dict().items():
        assert torch.equal(tensor, other.body.state_dict()[name]), name


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("kill", [(0, 1), (3, 1), (3, 2), (5, 0)])
def test_a_killed_run_ends_in_the_same_weights(
    kill: tuple[int, int], optimizer: str, tmp_path: Path
) -> None:
    plan = LoopPlan(6, optimizer, 0.05, 0.2, 1.0, 5)
    whole = trained(tmp_path / "whole", plan)
    with pytest.raises(Killed):
        run_stage(ToyStage(), plan, StageFolder(tmp_path / "cut"), Watcher(kill))
    torch.manual_seed(999)  # whatever the new process did before
    watcher = Watcher()
    again = ToyStage()
    with torch.no_grad():
        again.body[0].weight.zero_()
    if kill[0] == 0:  # nothing was saved: fresh weights are a function of the seed
        again = ToyStage()
    run_stage(again, plan, StageFolder(tmp_path / "cut"), watcher)
    assert watcher.begun == [("toy", 6, kill[0])]
    assert watcher.epochs == list(range(kill[0], 6))
    assert watcher.ended
    assert_same_weights(whole, again)
    assert figures(tmp_path / "whole") == figures(tmp_path / "cut")
    assert [line["epoch"] for line in lines(tmp_path / "cut")] == list(range(6))


def test_a_kill_between_log_and_checkpoint_leaves_each_epoch_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lacvit.training import checkpoint

    whole = trained(tmp_path / "whole")
    save = checkpoint.save

    def killed(folder: Path, epoch: int, *rest: object) -> None:
        if epoch == 4:
            raise Killed
        save(folder, epoch, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoint, "save", killed)
    with pytest.raises(Killed):
        trained(tmp_path / "cut")
    assert [line["epoch"] for line in lines(tmp_path / "cut")] == [0, 1, 2, 3]
    monkeypatch.undo()
    assert_same_weights(whole, trained(tmp_path / "cut"))
    assert figures(tmp_path / "whole") == figures(tmp_path / "cut")


def test_a_finished_stage_is_loaded_and_not_trained(tmp_path: Path) -> None:
    first = trained(tmp_path)
    again, watcher = ToyStage(), Watcher()
    run_stage(again, PLAN, StageFolder(tmp_path), watcher)
    assert watcher.begun == []
    assert again.seen == []
    assert_same_weights(first, again)
    assert len(lines(tmp_path)) == 6


def test_every_image_is_seen_once_an_epoch_in_another_order(tmp_path: Path) -> None:
    seen = torch.tensor(trained(tmp_path).seen).reshape(6, 22)
    assert torch.equal(seen.sort(1).values, torch.arange(22).expand(6, -1))
    assert len({tuple(order) for order in seen.tolist()}) == 6


def test_an_epochs_line_says_what_happened(tmp_path: Path) -> None:
    trained(tmp_path)
    for line in lines(tmp_path):
        assert line.keys() == {
            "epoch", "data_seconds", "loss", "gradient_norm", "lr", "size",
            "step_seconds", "validation_accuracy",
        }  # fmt: skip
        assert line["size"] == pytest.approx(22 / 3)
        assert line["data_seconds"] >= 0
    rates = [line["lr"] for line in lines(tmp_path)]
    assert rates[-1] < rates[0] < rates[1]
    assert max(rates) <= PLAN.lr
    assert list(StageFolder(tmp_path).tensorboard.iterdir())


def test_a_seed_is_told_from_any_other() -> None:
    places = [(s, n, e) for s in range(3) for n in ("head", "toy", "toy weights") for e in range(5)]
    seeds = {epoch_seed(*place) for place in places}
    assert len(seeds) == len(places)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    one = trained(tmp_path / "a")
    other = trained(tmp_path / "b", LoopPlan(6, "adamw", 0.05, 0.2, 1.0, seed=6))
    assert not torch.equal(one.body[0].weight, other.body[0].weight)  # its dropout differs


def test_a_loss_that_diverges_ends_the_run_with_advice(tmp_path: Path) -> None:
    stage = ToyStage(poison=2)
    with pytest.raises(InputError) as refused:
        run_stage(stage, PLAN, StageFolder(tmp_path), Silence())
    text = str(refused.value)
    assert text.startswith("The toy stage diverged in epoch 3: loss nan, gradient norm nan.")
    assert "Use a lower --lr" in text
    assert all(p.isfinite().all() for p in stage.body.parameters())
    assert [line["epoch"] for line in lines(tmp_path)] == [0, 1]
