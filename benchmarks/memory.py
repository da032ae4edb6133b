"""How much more memory a piece of work holds than there was before it: on CUDA, or on Linux."""

from __future__ import annotations

import re
from pathlib import Path

import torch


class Memory:
    """Growth of the peak over what was held at the start, in MB."""

    def __init__(self, device: str) -> None:
        self.cuda = device == "cuda"
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
            self.start = torch.cuda.memory_allocated()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
            self.start = self.status("VmRSS")

    def status(self, field: str) -> int:
        found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert found is not None
        return int(found[1]) * 1024

    def grown(self) -> float:
        peak = torch.cuda.max_memory_allocated() if self.cuda else self.status("VmHWM")
        return max(peak - self.start, 0) / 2**20
