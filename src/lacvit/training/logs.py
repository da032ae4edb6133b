"""What a stage says while it trains: to a file, to TensorBoard, and to whoever watches."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

from lacvit.run_folder import RunFolder, StageFolder


class Progress(Protocol):
    """Whoever watches a run. The command line has three: a live display, JSON lines, silence."""

    def message(self, text: str) -> None:
        """Something the user should read once."""

    def begin(self, stage: str, *, epochs: int, done: int) -> None:
        """A stage starts, or goes on after ``done`` epochs."""

    def step(self, share: float) -> None:
        """``share`` of the current epoch is done."""

    def epoch(self, epoch: int, scalars: Mapping[str, float]) -> None:
        """An epoch is done, and its figures."""

    def end(self) -> None:
        """The stage is done."""


class Silence:
    """Nobody watches."""

    def message(self, text: str) -> None:
        pass

    def begin(self, stage: str, *, epochs: int, done: int) -> None:
        pass

    def step(self, share: float) -> None:
        pass

    def epoch(self, epoch: int, scalars: Mapping[str, float]) -> None:
        pass

    def end(self) -> None:
        pass


class StatusProgress:
    """Keeps ``status.json`` at the epoch, and tells the real watcher everything.

    Its seconds are those of every start of the run, up to the last epoch that was kept; this one
    began at ``started``, by the monotonic clock.
    """

    def __init__(self, folder: RunFolder, watcher: Progress, started: float) -> None:
        self._folder, self._watcher = folder, watcher
        self._started = started - float(folder.status().get("seconds", 0.0))
        self._stage = ""

    def seconds(self) -> float:
        return round(time.monotonic() - self._started, 1)

    def message(self, text: str) -> None:
        self._watcher.message(text)

    def begin(self, stage: str, *, epochs: int, done: int) -> None:
        self._stage = stage
        self._folder.update_status(stage=stage, epoch=done, epochs=epochs)
        self._watcher.begin(stage, epochs=epochs, done=done)

    def step(self, share: float) -> None:
        self._watcher.step(share)

    def epoch(self, epoch: int, scalars: Mapping[str, float]) -> None:
        self._folder.update_status(epoch=epoch + 1, seconds=self.seconds())
        self._watcher.epoch(epoch, scalars)

    def end(self) -> None:
        ends = self._folder.status().get("seconds_at", {})
        self._folder.update_status(seconds_at={**ends, self._stage: self.seconds()})
        self._watcher.end()


class StageLog:
    """``metrics.jsonl`` and TensorBoard of one stage; a context manager."""

    def __init__(self, folder: StageFolder, first_epoch: int) -> None:
        # TensorBoard's writer takes three seconds to import: only a run that trains pays them.
        from torch.utils.tensorboard import SummaryWriter

        self._folder = folder
        folder.drop_metrics_from(first_epoch)
        self._writer = SummaryWriter(str(folder.tensorboard), purge_step=first_epoch)

    def write(self, epoch: int, scalars: Mapping[str, float]) -> None:
        """One line, one step."""
        self._folder.append_metrics({"epoch": epoch, **scalars})
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, epoch)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()
