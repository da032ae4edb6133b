import torch

# Tests share their machine; small matrices gain nothing from threads.
torch.set_num_threads(1)
