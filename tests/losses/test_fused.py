"""The Triton kernels: fused_cases.py in the interpreter and on a GPU, and what they refuse."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lacvit.errors import InputError
from lacvit.losses import supcon_loss

Z, LABELS = torch.eye(4), torch.tensor([0, 0, 1, 1])


def run_cases(interpret: str) -> None:
    """A pytest of its own: whether kernels are interpreted is settled when triton is imported."""
    cases = Path(__file__).with_name("fused_cases.py")
    options = ["-n", "0", "-p", "no:cacheprovider"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", str(cases), *options],
        env={**os.environ, "TRITON_INTERPRET": interpret},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
    assert " passed" in run.stdout


def test_in_the_interpreter():
    pytest.importorskip("triton", reason="Triton is not installed")
    run_cases("1")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    run_cases("0")


def test_without_triton_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "lacvit.losses.fused", raising=False)
    with pytest.raises(InputError, match=r"needs Triton.*pip install 'triton>=3' .*impl='tiled'"):
        supcon_loss(Z, LABELS, impl="fused")


def test_it_refuses_what_its_kernels_cannot_do(monkeypatch):
    pytest.importorskip("triton", reason="Triton is not installed")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(InputError, match=r"on cpu: move them to one, or choose impl='tiled'"):
        supcon_loss(Z, LABELS, impl="fused")
    with pytest.raises(InputError, match=r"float64 choose impl='tiled'"):
        supcon_loss(Z.double(), LABELS, impl="fused")

    from lacvit.losses.fused import refuse_what_kernels_cannot

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(InputError, match=r"this one has 7\.5: choose impl='tiled'"):
        refuse_what_kernels_cannot(torch.device("cuda"), torch.float32)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    refuse_what_kernels_cannot(torch.device("cuda"), torch.float32)
