"""What all tests share."""

import os

# Tests share their machine, and small matrices gain nothing from threads. Set before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

torch.set_num_threads(1)
