"""The loss over several processes against one process that has all rows: one launch for all.

The Triton kernels take part in Triton's interpreter, which runs in forked processes as elsewhere.
"""

import os
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import several_processes
import torch
from several_processes import (
    CUTS,
    FUSED_CUTS,
    RELATIVES,
    UNEQUAL,
    WORLD,
    block_of,
    inputs,
    train,
)

from lacvit.losses import LossDetails, supcon_loss
from lacvit.losses.supcon import AUTO

NAMES = ["auto", "reference", "tiled", *RELATIVES]
FUSED = ["fused"] if find_spec("triton") else []


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of the four processes got."""
    folder = tmp_path_factory.mktemp("processes")
    launch = "import sys, several_processes; sys.exit(several_processes.launch(*sys.argv[1:]))"
    run = subprocess.run(
        [sys.executable, "-c", launch, str(folder), *NAMES, *FUSED],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=Path(several_processes.__file__).parent,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(WORLD)]


@pytest.mark.parametrize(
    "kind",
    [
        "cpu",  # what the GPUs run, where there are none
        pytest.param(
            "cuda",
            marks=pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs"),
        ),
    ],
)
def test_on_processes_with_a_device_each(kind, tmp_path):
    """Gloo on processors, NCCL on GPUs."""
    launch = "import sys, several_processes; sys.exit(several_processes.launch_on(*sys.argv[1:]))"
    command = [sys.executable, "-c", launch, kind, str(tmp_path)]
    folder = Path(several_processes.__file__).parent
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    x, labels = inputs(sum(UNEQUAL))
    x.requires_grad_()
    truth = supcon_loss(x, labels, impl="reference")
    truth.backward()
    for rank in range(len(UNEQUAL)):
        loss, gradient = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(loss, truth.detach(), rtol=1e-6, atol=0, check_dtype=False)
        expected = len(UNEQUAL) * x.grad[block_of(UNEQUAL, rank)]
        torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-5, check_dtype=False)


@pytest.mark.parametrize("cut", CUTS, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_value_gradient_and_trajectory_are_those_of_one_process(answers, name, cut):
    x, labels = inputs(sum(cut))
    alone = RELATIVES.get(name, partial(supcon_loss, impl="reference"))
    truth = train(x, labels, alone, lambda _: None)
    assert abs(truth.losses[-1] - truth.losses[0]) > 1e-3  # the weights have moved
    for rank in range(len(cut)):
        got = answers[rank]["trained"][name, cut]
        torch.testing.assert_close(got.losses, truth.losses, rtol=1e-12, atol=0)
        # Averaging over the processes divides by their number; see supcon_loss.
        expected = len(cut) * truth.first_gradient[block_of(cut, rank)]
        torch.testing.assert_close(got.first_gradient, expected, rtol=1e-11, atol=1e-13)
        torch.testing.assert_close(got.weight, truth.weight, rtol=1e-11, atol=0)


@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_torchs_own_averaging_trains_as_one_process(answers, cut):
    """DistributedDataParallel, with processes that have no rows too."""
    x, labels = inputs(sum(cut))
    truth = train(x, labels, partial(supcon_loss, impl="reference"), lambda _: None)
    for rank in range(len(cut)):
        got = answers[rank]["wrapped"][cut]
        torch.testing.assert_close(got.losses, truth.losses, rtol=1e-12, atol=0)
        torch.testing.assert_close(got.weight, truth.weight, rtol=1e-11, atol=0)


@pytest.mark.skipif(not FUSED, reason="Triton is not installed")
@pytest.mark.parametrize("cut", FUSED_CUTS, ids=str)
def test_the_kernels_of_several_processes_train_as_one_process(answers, cut):
    """In float32, against float64. Measured: losses to 5e-8, gradients 2e-6, weights 1e-7."""
    x, labels = inputs(sum(cut))
    truth = train(x, labels, partial(supcon_loss, impl="reference"), lambda _: None)
    for rank in range(len(cut)):
        got = answers[rank]["trained"]["fused", cut]
        torch.testing.assert_close(got.losses, truth.losses, rtol=2e-7, atol=0, check_dtype=False)
        expected = len(cut) * truth.first_gradient[block_of(cut, rank)]
        torch.testing.assert_close(got.first_gradient, expected, rtol=0, atol=5e-6)
        torch.testing.assert_close(got.weight, truth.weight, rtol=0, atol=5e-7)


@pytest.mark.parametrize("rank", range(WORLD))
def test_every_process_gets_the_same_bits(answers, rank):
    for key, got in answers[rank]["trained"].items():
        assert got.losses == answers[0]["trained"][key].losses


@pytest.mark.parametrize("rank", range(WORLD))
def test_a_batch_without_positives_or_rows_is_zero_everywhere(answers, rank):
    loss, gradient = answers[rank]["others"]["lonely"]
    assert loss.item() == 0
    assert torch.equal(gradient, torch.zeros(((2, 3, 3, 0)[rank], 5), dtype=torch.float64))
    loss, gradient = answers[rank]["others"]["empty"]
    assert loss.item() == 0
    assert gradient.shape == (0, 5)  # attached: backward ran


@pytest.mark.parametrize("rank", range(WORLD))
def test_details_count_the_whole_batch(answers, rank):
    assert answers[rank]["others"]["details"] == LossDetails(*AUTO, 7, 1)


@pytest.mark.parametrize("rank", range(WORLD))
def test_half_precision_rows_are_computed_with_in_float32(answers, rank):
    x, labels = inputs(8)
    half = answers[rank]["others"]["half"]
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, supcon_loss(x.bfloat16(), labels), rtol=1e-6, atol=0)


@pytest.mark.parametrize("rank", range(WORLD))
def test_strides_dtypes_of_labels_and_autocast_change_nothing(answers, rank):
    x, labels = inputs(8)
    whole = x.float().requires_grad_()
    truth = supcon_loss(whole, labels % 100)
    truth.backward()
    loss, gradient = answers[rank]["others"]["odd"]
    torch.testing.assert_close(loss, truth.detach(), rtol=1e-6, atol=0)
    expected = WORLD * whole.grad[block_of((2, 3, 3, 0), rank)]
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rank", range(WORLD))
def test_without_a_group_a_process_is_alone(answers, rank):
    x, labels = inputs(8)
    own = block_of((2, 3, 3, 0), rank)
    assert torch.equal(answers[rank]["others"]["alone"], supcon_loss(x[own], labels[own]))


@pytest.mark.parametrize("rank", range(WORLD))
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("nan", "process 2 of 4: embedding 0 of 3 is not finite (3 such rows)."),
        ("zero", "process 2 of 4: embedding 0 of 3 is all zeros and has no direction"),
        ("shape", "process 2 of 4: labels have shape (2,) and embeddings (3, 2)"),
        ("type", "process 2 of 4: embeddings are a list; give a torch tensor."),
        ("impl", "process 2 of 4: impl is 'x'; allowed: auto, reference"),
        ("temperature", "the processes disagree on temperature: 0.1, 0.1, 1.1, 0.1 (process 0"),
        ("text", "process 2 of 4: temperature is 'x'; it must be a number above 0"),
        ("normalize", "process 2 of 4: normalize is [], a list; give Python's True or False."),
        ("ours", "an odd number"),
        ("losses", "the processes disagree on loss: supcon, supcon, npair, supcon (process 0 f"),
        ("relatives", "the processes disagree on loss: sincere, sincere, npair, sincere (pro"),
        ("minute", "process 0 of 4: temperature is 1e-310, where logits overflow in torch.float64"),
        ("dimensions", "the processes disagree on dimensions: 2, 2, 1, 2 (process 0 first)"),
        ("dtype", "disagree on dtype: torch.float64, torch.float64, torch.float32, torch.float64"),
        ("twice", "the loss over a process group has no second derivative (create_graph=True)"),
    ],
)
def test_a_fault_of_one_process_is_named_by_all(answers, rank, fault, message):
    assert message in answers[rank]["faults"][fault]


def test_an_outsider_is_told(answers):
    assert "is no member of the process group" in answers[2]["faults"]["outsider"]
