"""What all tests share."""

import os
import tempfile
from pathlib import Path

# Tests share their machine, and small matrices gain nothing from threads. Set before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test asks the network, or depends on what this machine has in the hub's cache.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_CACHE"] = str(Path(tempfile.gettempdir()) / "lacvit-tests-have-no-hub-cache")

import torch

torch.set_num_threads(1)
