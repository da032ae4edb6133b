"""What all tests share."""

import os
import tempfile
from pathlib import Path

# Tests share their machine, and small matrices gain nothing from threads. Set before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test asks the network, or depends on what this machine has in the hub's cache.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_CACHE"] = str(Path(tempfile.gettempdir()) / "lacvit-tests-have-no-hub-cache")

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture
def quick_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without their page: reports have tests of their own, elsewhere they only cost time."""
    from lacvit import pipeline

    monkeypatch.setattr(pipeline, "write_report", lambda folder: folder / "report.html")
