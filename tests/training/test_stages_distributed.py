"""Training among processes: the steps, weights and figures of one process alone."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_material import COMPUTE, images, plan, small_backbone
from torch import Tensor, distributed, nn

from forked import launch
from lacvit.config import ContrastiveSettings, CrossEntropySettings, HeadSettings, JointSettings
from lacvit.data.batches import Batch, evaluation_batches, share
from lacvit.distributed import (
    Group,
    average_gradients_,
    from_main,
    gather_rows,
    mean_figures,
    rank_of,
    size_of,
    together,
)
from lacvit.errors import InputError, PeerStopped
from lacvit.run_folder import StageFolder
from lacvit.training import contrastive
from lacvit.training.contrastive import ContrastiveStage
from lacvit.training.cross_entropy import CrossEntropyStage
from lacvit.training.head import HeadStage
from lacvit.training.heads import fresh_head
from lacvit.training.joint import JointStage
from lacvit.training.logs import Silence
from lacvit.training.loop import LoopPlan, run_stage
from lacvit.training.material import encode_images

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks processes with threads")

# 10 images in batches of 4: 4, 4 and 2, of which the third and fourth process get none.
LOOP = LoopPlan(epochs=7, optimizer="sgd", lr=0.05, warmup=0.25, clip_norm=1.0, seed=0)
SHORT = replace(LOOP, epochs=2)
DROPPING = {"proj_drop_rate": 0.2, "drop_path_rate": 0.3}
SIZES = (2, 4)
# What is trained -> in groups of which sizes, beside one process alone. Small networks cost a
# process as much as the whole: not everything is done everywhere.
DOUBLES = {
    "contrastive": (2,),
    "contrastive in chunks of 1": (4,),
    "contrastive in chunks of 3": (2,),
    "cross-entropy": (4,),
    "joint": (4,),
}
VALIDATED = {"contrastive, validated": (2,), "cached head": (2,), "live head": (4,)}


class InDoubles:
    """A stage whose views are float64, and that notes its weights before every step."""

    def __init__(self, stage: Any) -> None:
        self.stage, self.weights = stage, []
        for module in stage.modules.values():
            module.double()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stage, name)

    def step(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        self.weights.append(flat(self.stage.modules))
        return self.stage.step(replace(batch, views_BVCHW=batch.views_BVCHW.double()))

    def validate(self) -> dict[str, float]:  # evaluation is in float32
        return {}


def flat(modules: Any) -> Tensor:
    return torch.cat([p.detach().flatten() for m in modules.values() for p in m.parameters()])


def make_stage(name: str, group: Group, precision: str = "fp32", **network: Any) -> Any:
    backbone = small_backbone(**network)
    torch.manual_seed(3)
    compute = replace(COMPUTE, group=group, precision=precision)
    views = plan(backbone, views=2 if name.startswith(("contrastive", "joint")) else 1)
    views = replace(views, rank=rank_of(group), world_size=size_of(group))
    train, validation = images(), images(7, seed=1)
    if name.startswith("contrastive"):
        micro = int(name[-1]) if name[-1].isdigit() else None
        given = ContrastiveSettings(projection_dim=8, lr=0.05, micro_batch=micro)
        return ContrastiveStage(backbone, train, validation, given, views, compute)
    head = fresh_head(backbone.dim, 2)
    if name == "cross-entropy":
        settings = CrossEntropySettings(lr=0.05)
        return CrossEntropyStage(backbone, head, train, validation, settings, views, compute)
    if name == "joint":
        joint = JointSettings(projection_dim=8, lr=0.05)
        return JointStage(backbone, head, train, validation, joint, views, compute)
    features: Any = name.removesuffix(" head")
    given_head = HeadSettings(solver="sgd", features=features, batch_size=4)
    return HeadStage(backbone, head, train, validation, given_head, views, compute)


def trained(stage: Any, loop: LoopPlan, folder: Path, group: Group) -> Tensor:
    """Weights before each step where the stage notes them, and at the end."""
    run_stage(stage, loop, StageFolder(folder), Silence(), group)
    return torch.stack([*getattr(stage, "weights", []), flat(stage.modules)])


def trajectories(folder: Path, group: Group) -> dict[str, Tensor]:
    """What trains in a group of this size, each from one seed."""
    found = {}
    for name, sizes in (DOUBLES | VALIDATED).items():
        if size_of(group) in (1, *sizes):
            stage = make_stage(name, group)
            stage = InDoubles(stage) if name in DOUBLES else stage
            loop = LOOP if name.startswith("contrastive") and name in DOUBLES else SHORT
            found[name] = trained(stage, loop, folder / name, group)
    return found


def keeping_graph(encode: Any, views_N: Tensor, rows: int) -> Any:
    parts = [encode(part) for part in views_N.split(rows)]
    return tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))


def with_dropout(folder: Path, group: Group) -> dict[str, list[Tensor]]:
    """Gradient caching, and the same chunks with their graph kept; in doubles, and in autocast."""
    found: dict[str, list[Tensor]] = {"doubles": [], "bf16": []}
    for name, encode in (("cached", contrastive.encode_in_chunks), ("kept", keeping_graph)):
        contrastive.encode_in_chunks = encode
        for name_of, precision in (("doubles", "fp32"), ("bf16", "bf16")):
            stage = make_stage("contrastive in chunks of 1", group, precision, **DROPPING)
            stage = InDoubles(stage) if name_of == "doubles" else stage
            found[name_of].append(trained(stage, SHORT, folder / name / name_of, group))
    return found


def evaluated(group: Group) -> dict[str, Any]:
    """Which of 11 images this process sees, and the features that it is given."""
    material, backbone = images(11), small_backbone()
    seen = share(np.arange(11), rank_of(group), size_of(group))
    own = evaluation_batches(
        material.images, backbone.input_spec, batch_size=2,
        rank=rank_of(group), world_size=size_of(group),
    )  # fmt: skip
    features = encode_images(material.images, backbone, replace(COMPUTE, group=group))
    return {"seen": seen, "images": torch.cat(list(own)), "features": features}


def exchanged(group: Group) -> dict[str, Any]:
    rank = rank_of(group)
    torch.manual_seed(0)
    net = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 1, dtype=torch.float64), nn.Linear(1, 1)])
    if rank == 0:  # one gradient is here alone, one everywhere, one nowhere
        net[0](torch.ones(1, 2)).sum().backward()
    net[1](torch.full((1, 2), 1.0 + rank, dtype=torch.float64)).sum().backward()
    average_gradients_(net.parameters(), group)
    failures = {}
    for name, work in {
        "main": lambda: from_main(lambda: 1 / 0, group),
        "last": lambda: together(lambda: 1 / (rank - size_of(group) + 1), group),
        "both": lambda: together(lambda: refuse(rank), group),
    }.items():
        try:
            failures[name] = work()
        except (ZeroDivisionError, PeerStopped, InputError) as error:
            failures[name] = f"{type(error).__name__}: {error}"
    return {
        "gradients": [None if p.grad is None else p.grad.tolist() for p in net.parameters()],
        "figures": mean_figures({"loss": float(rank), "lr": 1.0}, group),
        "rows": gather_rows(np.full((rank, 2), rank, np.float32), group),
        "labels": gather_rows(np.arange(rank), group),
        "no rows": gather_rows(np.zeros((0, 3), np.float32), group),
        "main": from_main(lambda: {"rank": rank_of(group)}, group),
        "all": together(lambda: rank, group),
        "failures": failures,
    }


def refuse(rank: int) -> None:
    raise InputError(f"folder {rank} is empty")


def everything(rank: int, folder: Path) -> dict[int, Any]:
    """All checks of this file, in a group of two and in one of four."""
    results = {}
    for size in SIZES:
        group = distributed.new_group(list(range(size)))
        if rank < size:
            place = folder / str(size)
            results[size] = {
                "trajectories": trajectories(place, group),
                "dropout": with_dropout(place, group) if size == 2 else None,
                "evaluated": evaluated(group),
                "exchanged": exchanged(group),
            }
    return results


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, Any]:
    return trajectories(folder / "1", None)


@pytest.fixture(scope="module")
def among(alone: object, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What every process found, by the size of the group."""
    return launch(4, tmp_path_factory.mktemp("launch"), lambda rank: everything(rank, folder))


def found(among: list[Any], size: int, key: str) -> Iterator[Any]:
    return (among[rank][size][key] for rank in range(size))


@pytest.mark.parametrize("stage", DOUBLES)
def test_every_step_is_that_of_one_process(
    stage: str, alone: dict[str, Tensor], among: list[Any]
) -> None:
    truth = alone[stage]
    assert len(truth) == (22 if stage.startswith("contrastive") else 7)  # every step, and the end
    assert (truth[-1] - truth[0]).abs().max() > 0.01, "nothing was learned"
    for size in DOUBLES[stage]:
        for found_here in found(among, size, "trajectories"):
            assert (found_here[stage] - truth).abs().max() <= 1e-10


@pytest.mark.parametrize("rows", [1, 3])
def test_chunks_of_any_size_take_the_same_steps(rows: int, alone: dict[str, Tensor]) -> None:
    apart = alone[f"contrastive in chunks of {rows}"] - alone["contrastive"]
    assert apart.abs().max() <= 1e-10


@pytest.mark.parametrize("stage", VALIDATED)
def test_what_is_written_once_is_what_one_process_writes(
    stage: str, alone: dict[str, Tensor], folder: Path, among: list[Any]
) -> None:
    for size in VALIDATED[stage]:
        for found_here in found(among, size, "trajectories"):
            torch.testing.assert_close(found_here[stage], alone[stage], rtol=1e-4, atol=1e-6)
        place, truth = (StageFolder(folder / str(n) / stage) for n in (size, 1))
        lines, expected = (
            [json.loads(line) for line in where.metrics.read_text().splitlines()]
            for where in (place, truth)
        )
        assert len(lines) == len(expected) == SHORT.epochs
        for line, other in zip(lines, expected, strict=True):
            assert line.keys() == other.keys()
            for name in line.keys() - {"step_seconds", "data_seconds"}:
                assert line[name] == pytest.approx(other[name], rel=1e-4, abs=1e-6), name
        assert [p.name for p in place.checkpoints.iterdir()] == ["epoch-00002"]
        assert len(list(place.tensorboard.iterdir())) == 1


# In bfloat16 the bar leaves room for the last digits of float32's sums.
@pytest.mark.parametrize(("precision", "bar"), [("doubles", 1e-10), ("bf16", 1e-5)])
def test_caching_equals_keeping_the_graph_with_dropout_too(
    precision: str, bar: float, among: list[Any], alone: dict[str, Tensor]
) -> None:
    for dropout in found(among, 2, "dropout"):
        cached, kept = dropout[precision]
        assert (cached - kept).abs().max() <= bar
        start = alone["contrastive"][0]  # the same seed's
        assert (cached[-1] - start).abs().max() > 0.01


@pytest.mark.parametrize("size", SIZES)
def test_every_image_is_evaluated_exactly_once(size: int, among: list[Any]) -> None:
    truth = evaluated(None)
    parts = list(found(among, size, "evaluated"))
    assert np.concatenate([part["seen"] for part in parts]).tolist() == list(range(11))
    assert torch.equal(torch.cat([part["images"] for part in parts]), truth["images"])
    for part in parts:
        np.testing.assert_allclose(part["features"], truth["features"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_what_is_exchanged(size: int, among: list[Any]) -> None:
    middle = (1 + size) / 2
    for rank, part in enumerate(found(among, size, "exchanged")):
        assert part["gradients"] == [
            [[1 / size] * 2] * 2, [1 / size] * 2, [[middle] * 2], [1.0], None, None,
        ]  # fmt: skip
        assert part["figures"] == {"loss": (size - 1) / 2, "lr": 1.0}
        expected = [r for r in range(size) for _ in range(r)]
        assert part["rows"].tolist() == [[r, r] for r in expected]
        assert part["rows"].dtype == np.float32
        assert part["labels"].tolist() == [i for r in range(size) for i in range(r)]
        assert part["labels"].dtype == np.int64
        assert part["no rows"].shape == (0, 3)
        assert part["main"] == {"rank": 0}
        assert part["all"] == rank


@pytest.mark.parametrize("size", SIZES)
def test_what_fails_on_one_process_ends_all(size: int, among: list[Any]) -> None:
    division = "division by zero"
    for rank, part in enumerate(found(among, size, "exchanged")):
        told = f"PeerStopped: Process {{}} of this run stopped: {division}"
        own = f"ZeroDivisionError: {division}"
        assert part["failures"] == {
            "main": own if rank == 0 else told.format(0),
            "last": own if rank == size - 1 else told.format(size - 1),
            "both": "InputError: folder 0 is empty"
            if rank == 0
            else "PeerStopped: Process 0 of this run stopped: folder 0 is empty",
        }


def test_a_process_alone_exchanges_nothing() -> None:
    assert from_main(lambda: 3, None) == together(lambda: 3, None) == 3
    assert (rank_of(None), size_of(None)) == (0, 1)
    rows = np.zeros((2, 3), np.float32)
    assert gather_rows(rows, None) is rows
    assert mean_figures({"loss": 0.1}, None) == {"loss": 0.1}
