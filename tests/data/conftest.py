import os
from pathlib import Path

import pytest
import torch

# Tests share their machine; small images gain nothing from threads.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real image sets that LACVIT_DATA names."""
    folder = os.environ.get("LACVIT_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("set LACVIT_DATA to the folder of the shared image sets to run this")
    return Path(folder)
