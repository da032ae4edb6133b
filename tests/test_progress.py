"""What is seen of a run: the figures that judge a stage, on narrow terminals and in logs."""

import io
import re

import pytest
from rich.console import Console

from lacvit.progress import LiveProgress

CONTRAST = {
    "loss": 3.0014,
    "knn_accuracy": 1.0,
    "effective_rank": 123.44,
    "loss_start": 5.5373,
    "loss_floor": 3.4061,
    "lr": 1e-4,
}
TUNING = {"loss": 0.0123, "train_accuracy": 0.987, "validation_accuracy": 0.912}
FIGURES = "loss 3.00 (5.54 to 3.41)  k-NN 100.0%  rank 123.4"


def shown(
    stage: str,
    scalars: dict[str, float],
    *,
    width: int,
    terminal: bool = True,
    brief: bool = False,
) -> list[str]:
    """The lines after the last three of 100 epochs, without what moves the cursor."""
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    progress = LiveProgress(console, brief=brief)
    progress.begin(stage, epochs=100, done=97)
    for epoch in (97, 98, 99):
        progress.epoch(epoch, scalars)
    progress.end()
    assert isinstance(console.file, io.StringIO)
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", console.file.getvalue())
    return [line for line in re.split(r"[\r\n]", text) if line]


@pytest.fixture(autouse=True)
def _able_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.parametrize(("width", "bar"), [(80, 0), (90, 8), (100, 8), (110, 24), (200, 24)])
def test_stage_one_is_judged_at_every_width(width: int, bar: int) -> None:
    line = shown("contrastive", CONTRAST, width=width)[-1].rstrip()
    head = rf"contrastive +━{{{bar}}} *100/100 \d\d:\d\d   "  # room for hours
    assert re.fullmatch(head + re.escape(FIGURES), line)
    assert len(line) <= width


def test_the_landmarks_of_the_loss_are_cut_last() -> None:
    line = shown("joint", CONTRAST, width=60)[-1]
    assert " 100/100 " in line
    assert "loss 3.00 (5.54 to 3.41)" in line


def test_a_loss_without_landmarks_has_a_digit_more() -> None:
    line = shown("cross_entropy", TUNING, width=80)[-1]
    assert "loss 0.012  train 98.7%  val 91.2%" in line


def test_a_log_has_every_epoch_whole() -> None:
    lines = shown("contrastive", CONTRAST, width=40, terminal=False)
    assert lines[1:] == [f"  contrastive {epoch}/100  {FIGURES}" for epoch in (98, 99, 100)]


def test_a_log_of_many_runs_has_some_epochs() -> None:
    lines = shown("contrastive", CONTRAST, width=40, terminal=False, brief=True)
    assert lines[1:] == [f"  contrastive 100/100  {FIGURES}"]
