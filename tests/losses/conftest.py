import torch
from hypothesis import HealthCheck, settings

# Tests share their machine; small matrices gain nothing from threads.
torch.set_num_threads(1)

# The same cases every time; a busy machine is no reason to fail.
settings.register_profile(
    "lacvit", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("lacvit")
