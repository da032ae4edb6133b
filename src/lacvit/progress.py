"""Three ways to watch a run: a live display, JSON lines, and silence; all on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from lacvit.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from lacvit.training.logs import Progress

# What of an epoch's figures is shown beside the loss, and how.
SHOWN = {
    "knn_accuracy": "k-NN {:.1%}",
    "effective_rank": "rank {:.1f}",
    "train_accuracy": "train {:.1%}",
    "validation_accuracy": "val {:.1%}",
}
# Characters of the bar by those of the terminal: at 80 the figures of stage 1 leave no room.
BARS = ((110, 24), (90, 8))
BRIEF_LINES = 20  # epochs of a stage that are told of where many runs follow one another


class LiveProgress:
    """A line a stage, with its latest figures; one an epoch where stderr moves no cursor.

    ``brief`` tells of some twenty epochs a stage there: the lines of many runs would be thousands.
    """

    def __init__(self, console: Console, *, brief: bool = False) -> None:
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars
        from rich.table import Column

        def whole(width: int) -> Column:
            """Of a narrow terminal the figures give up their end, and nothing else."""
            return Column(no_wrap=True, min_width=width)

        bar = next((bar for width, bar in BARS if console.width >= width), 0)
        self._console, self._brief = console, brief
        self._plain = not console.is_terminal or console.is_dumb_terminal
        self._bars = Bars(
            TextColumn("{task.description:<13}", table_column=whole(13)),
            *([BarColumn(bar_width=bar, table_column=whole(bar))] if bar else []),
            TextColumn("{task.fields[epoch]:>7}", table_column=whole(7)),
            TimeRemainingColumn(True, True, table_column=whole(7)),
            TextColumn("{task.fields[figures]}", table_column=Column(no_wrap=True)),
            console=console,
            disable=self._plain,
        )
        self._epochs = 1
        self._done = 0

    def message(self, text: str) -> None:
        # Not broken at a width: a log is searched, and a terminal breaks lines itself.
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def begin(self, stage: str, *, epochs: int, done: int) -> None:
        self._epochs, self._done, self._stage = epochs, done, stage
        self._bars.start()
        self._task = self._bars.add_task(
            stage, total=epochs, completed=done, epoch=f"{done}/{epochs}", figures=""
        )
        if done:
            self.message(f"  {stage}: {done} of {epochs} epochs were done already")

    def step(self, share: float) -> None:
        self._bars.update(self._task, completed=self._done + share)

    def epoch(self, epoch: int, scalars: Mapping[str, float]) -> None:
        self._done = epoch + 1
        figures = "  ".join(_figures(scalars))
        self._bars.update(
            self._task,
            completed=self._done,
            epoch=f"{self._done}/{self._epochs}",
            figures=figures,
        )
        every = max(1, self._epochs // BRIEF_LINES) if self._brief else 1
        if self._plain and (self._done % every == 0 or self._done == self._epochs):
            self.message(f"  {self._stage} {self._done}/{self._epochs}  {figures}")

    def end(self) -> None:
        self._bars.stop()
        for task in list(self._bars.task_ids):
            self._bars.remove_task(task)


def _figures(scalars: Mapping[str, float]) -> Iterator[str]:
    """The loss first, as a narrow terminal cuts the end: alone, or between its start and floor."""
    if "loss_start" in scalars:
        yield "loss {loss:.2f} ({loss_start:.2f} to {loss_floor:.2f})".format_map(scalars)
    elif "loss" in scalars:
        yield f"loss {scalars['loss']:.3f}"
    for name, form in SHOWN.items():
        if name in scalars:
            yield form.format(scalars[name])


class JsonProgress:
    """One JSON object a line."""

    _stage = ""

    def message(self, text: str) -> None:
        self._say(event="message", text=text)

    def begin(self, stage: str, *, epochs: int, done: int) -> None:
        self._stage = stage
        self._say(event="begin", stage=stage, epochs=epochs, done=done)

    def step(self, share: float) -> None:
        pass

    def epoch(self, epoch: int, scalars: Mapping[str, float]) -> None:
        self._say(event="epoch", stage=self._stage, epoch=epoch, **scalars)

    def end(self) -> None:
        self._say(event="end", stage=self._stage)

    def _say(self, **fields: object) -> None:
        sys.stderr.write(json.dumps(fields) + "\n")
        sys.stderr.flush()


def make_progress(
    *, quiet: bool, json_logs: bool, silent: bool = False, brief: bool = False
) -> Progress:
    """The one that the flags ask for; none where ``silent`` says that another process speaks.

    ``brief``: see `LiveProgress`.

    Raises:
        InputError: the flags contradict each other.
    """
    if quiet and json_logs:
        raise InputError(
            "--quiet asks for no progress, and --json-logs for progress as JSON lines; "
            "give one of them."
        )
    from rich.console import Console

    from lacvit.training.logs import Silence

    if quiet or silent:
        return Silence()
    return JsonProgress() if json_logs else LiveProgress(Console(stderr=True), brief=brief)
