"""What a plan says of the time: fixed costs count, and runs that ended are believed."""

from pathlib import Path

import pytest

from digit_folders import write_split_folder
from lacvit.comparison import Request
from lacvit.comparison.outlook import (
    PAGE_SECONDS,
    RUN_SECONDS,
    Outlook,
    describe,
    expected_seconds,
    look_ahead,
    remaining_seconds,
)
from lacvit.comparison.plan import plan_runs
from lacvit.run_folder import RunFolder, write_json
from lacvit.shared import Shared
from lacvit.training.logs import Silence

METHODS = ("linear-probe", "lacvit")


def test_a_small_comparison_takes_what_its_runs_take_beside_their_steps(tmp_path: Path) -> None:
    data = write_split_folder(tmp_path / "digits", {"train": 3, "val": 2, "test": 3})
    request = Request(tmp_path / "out", METHODS, ("pico",), seeds=3)
    given = {"contrastive.epochs": 1, "precision": "fp32", "data.path": str(data)}
    runs = plan_runs(given, request)
    outlook = look_ahead(runs, Shared(), Silence())
    assert remaining_seconds(runs, outlook) > len(runs) * RUN_SECONDS + PAGE_SECONDS


def test_runs_that_ended_speak_for_others(tmp_path: Path) -> None:
    runs = plan_runs({"data.path": "photos"}, Request(tmp_path, METHODS, ("pico",), seeds=2))
    cell = runs[0].cell
    outlook = Outlook({}, {(cell, "linear-probe"): 2.0, (cell, "lacvit"): 10.0}, {})
    assert remaining_seconds(runs, outlook) == pytest.approx(24 + PAGE_SECONDS)
    write_json(RunFolder(runs[0].folder).status_file, {"finished": True, "seconds": 5.0})
    expected = expected_seconds(runs, outlook)
    assert expected == {(cell, "linear-probe"): 5.0, (cell, "lacvit"): 13.0}
    first, line = describe(runs, [], outlook)
    assert first.startswith("4 runs: 1 done, 3 to do; about 36 s")
    assert "about 31 s to go (linear-probe 5 s, lacvit 13 s a run)" in line
    for run in runs:
        write_json(RunFolder(run.folder).status_file, {"finished": True, "seconds": 5.0})
    assert remaining_seconds(runs, outlook) == 0
