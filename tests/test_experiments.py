"""The plan of the grid: shards that cover it, encoders beside those that take them."""

import csv
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch):
    """grid.py and jobs.py."""
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    for name in ("grid", "jobs"):
        sys.modules.pop(name, None)
    import grid
    import jobs

    return grid, jobs


def plan_of(grid, output: Path):
    return list(grid.grid(Path("data"), {"pico": "pico", "pico-mae": "file:x"}, output))


@pytest.mark.parametrize("shards", [1, 2, 7])
def test_shards_cover_the_plan_whatever_has_been_run(programs, tmp_path, shards):
    grid, jobs = programs
    plan = plan_of(grid, tmp_path)
    parts = [jobs.dealt(plan, f"{number}/{shards}") for number in range(1, shards + 1)]
    assert sorted(job.name for part in parts for job in part) == sorted(job.name for job in plan)
    for part in parts:
        names = {str(tmp_path / job.name) for job in part}
        for job in part:
            spec = str(job.settings["backbone.spec"])
            assert not spec.startswith("run:") or spec.removeprefix("run:") in names


def test_an_encoder_that_is_not_here_is_trained_before_it_is_taken(programs, tmp_path):
    grid, jobs = programs
    plan = plan_of(grid, tmp_path)
    joint, refit = (
        next(j for j in plan if j.row["arm"] == arm and j.row["backbone"] == "pico")
        for arm in ("joint", "joint-refit")
    )
    table = tmp_path / "grid.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        columns = [*joint.row, "seed", "test_accuracy", "images", "seconds"]
        writer.writerows([columns, [*joint.row.values(), joint.seed, 0.5, 10, 1]])
    assert jobs.to_run([joint], tmp_path, table) == []
    assert jobs.to_run([refit], tmp_path, table, plan) == [joint, refit]
