"""Four gloo processes, and groups of two, three and four among them: the loss over each group.

`launch`, called in a process of its own, leaves the answers of each process in FOLDER/RANK.pt. The
problems stand here, so that a test can solve them in one process.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, multiprocessing

from lacvit.errors import InputError
from lacvit.losses import npair_loss, ntxent_loss, sincere_loss, supcon_loss, tiled

WORLD = 4
STEPS = 4
RATE = 0.02
D_IN, D = 5, 3

# Rows of each process: equal and unequal blocks, and processes without rows.
CUTS = [(8, 8), (3, 10), (0, 6), (4, 4, 4), (9, 0, 2), (0, 0, 7), (5, 5, 5, 5), (1, 8, 0, 6)]
UNEQUAL = (3, 10)
# The interpreter of the Triton kernels takes its time: unequal blocks, and one without rows.
FUSED_CUTS = [(3, 10), (1, 8, 0, 6)]
# Beside SupCon, whose implementations go by their names.
RELATIVES: dict[str, Callable[..., Tensor]] = {
    "simclr": ntxent_loss,
    "npair": partial(npair_loss, temperature=1.0),
    "sincere": sincere_loss,
    "weighted": partial(supcon_loss, negative_weighting=1.0),
}


@dataclass(frozen=True)
class Trained:
    """What some steps of gradient descent on a linear encoder left behind."""

    losses: list[Tensor]
    first_gradient: Tensor
    """With respect to the embeddings of the rows given, in the first step."""
    weight: Tensor


def inputs(n: int) -> tuple[Tensor, Tensor]:
    """Classes spread over all processes, and one row whose class has no other."""
    x = torch.randn(n, D_IN, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    labels = torch.arange(n) % 3 - 1
    labels[n // 2] = 2**40
    return x, labels


def first_weight() -> Tensor:
    return torch.linspace(-1, 2, D_IN * D, dtype=torch.float64).sin().view(D_IN, D)


def train(
    x: Tensor,
    labels: Tensor,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    average: Callable[[Tensor], None],
) -> Trained:
    weight = first_weight()
    losses, first_gradient = [], None
    for _ in range(STEPS):
        weight = weight.detach().requires_grad_()
        z = x @ weight
        z.retain_grad()
        loss = loss_of(z, labels)
        loss.backward()
        assert z.grad is not None
        assert weight.grad is not None
        average(weight.grad)
        losses.append(loss.detach())
        first_gradient = z.grad if first_gradient is None else first_gradient
        weight = weight - RATE * weight.grad
    assert first_gradient is not None
    return Trained(losses, first_gradient, weight.detach())


def block_of(cut: tuple[int, ...], rank: int) -> slice:
    return slice(sum(cut[:rank]), sum(cut[: rank + 1]))


def trained_in(group: Any, cut: tuple[int, ...], name: str) -> Trained:
    x, labels = inputs(sum(cut))
    own = block_of(cut, distributed.get_rank(group))

    def average(gradient: Tensor) -> None:
        distributed.all_reduce(gradient, group=group)
        gradient /= len(cut)

    def loss_of(z: Tensor, labels: Tensor) -> Tensor:
        if name in RELATIVES:
            return RELATIVES[name](z, labels, group=group)
        if name == "fused":  # adds up in float32
            z = z.float()
        return supcon_loss(z, labels, impl=name, group=group)

    return train(x[own], labels[own], loss_of, average)


def wrapped(group: Any, cut: tuple[int, ...]) -> Trained:
    """The same steps by torch's own DistributedDataParallel."""
    x, labels = inputs(sum(cut))
    own = block_of(cut, distributed.get_rank(group))
    encoder = torch.nn.Linear(D_IN, D, bias=False, dtype=torch.float64)
    with torch.no_grad():
        encoder.weight.copy_(first_weight().T)
    model = torch.nn.parallel.DistributedDataParallel(encoder, process_group=group)
    optimizer = torch.optim.SGD(encoder.parameters(), RATE)
    losses, first_gradient = [], None
    for _ in range(STEPS):
        optimizer.zero_grad()
        z = model(x[own])
        z.retain_grad()
        loss = supcon_loss(z, labels[own], group=group)
        loss.backward()
        losses.append(loss.detach())
        first_gradient = z.grad if first_gradient is None else first_gradient
        optimizer.step()
    assert first_gradient is not None
    return Trained(losses, first_gradient, encoder.weight.detach().T)


def error_of(call: Callable[[], object]) -> str:
    try:
        call()
    except (InputError, RuntimeError) as error:
        return str(error)
    return "no error"


class Odd(float):
    """A number of which one fails in a way that no check expects."""

    def __gt__(self, other: float) -> bool:
        if float(self) > 1:
            raise RuntimeError("an odd number")
        return float(self) > other


def faults(rank: int, groups: dict[int, Any]) -> dict[str, str]:
    """What every process says when one of them cannot take part, or does not agree."""
    z, labels = torch.ones(3, 2, dtype=torch.float64), torch.tensor([1, 1, 2])
    here = rank == 2
    nan, zero = z * (float("nan") if here else 1), z * (0 if here else 1)
    calls: dict[str, Callable[..., object]] = {
        "nan": lambda **group: supcon_loss(nan, labels, **group),
        "zero": lambda **group: supcon_loss(zero, labels, **group),
        "shape": lambda **group: supcon_loss(z, labels[1:] if here else labels, **group),
        "type": lambda **group: supcon_loss(z.tolist() if here else z, labels, **group),
        "impl": lambda **group: supcon_loss(z, labels, impl="x" if here else "tiled", **group),
        "temperature": lambda **group: supcon_loss(z, labels, temperature=0.1 + here, **group),
        "text": lambda **group: supcon_loss(z, labels, temperature="x" if here else 1, **group),
        "normalize": lambda **group: supcon_loss(
            z, labels, normalize=[] if here else True, **group
        ),
        "ours": lambda **group: supcon_loss(z, labels, temperature=Odd(0.1 + here), **group),
        "losses": lambda **group: (npair_loss if here else supcon_loss)(z, labels, **group),
        "relatives": lambda **group: (npair_loss if here else sincere_loss)(z, labels, **group),
        "minute": lambda **group: supcon_loss(
            z * (not here), labels, temperature=1e-310, normalize=False, **group
        ),
        "dimensions": lambda **group: supcon_loss(z[:, : 2 - here], labels, **group),
        "dtype": lambda **group: supcon_loss(z.float() if here else z, labels, **group),
    }
    said = {name: error_of(lambda c=call: c(group=groups[4])) for name, call in calls.items()}
    said["outsider"] = error_of(lambda: supcon_loss(z, labels, group=groups[2]) if here else None)
    z.requires_grad_()
    loss = supcon_loss(z, labels, group=groups[4])
    said["twice"] = error_of(lambda: torch.autograd.grad(loss, z, create_graph=True))
    return said


def others(rank: int, groups: dict[int, Any]) -> dict[str, Any]:
    """What stays as it is alone, and what a group without positives or rows gives."""
    x, labels = inputs(8)
    own = block_of((2, 3, 3, 0), rank)
    z = x[own].requires_grad_()
    lonely = supcon_loss(z, torch.arange(8)[own], group=groups[4])
    lonely.backward()
    nothing = x[:0].clone().requires_grad_()
    empty = supcon_loss(nothing, labels[:0], group=groups[4])
    empty.backward()
    _, details = supcon_loss(x[own], labels[own], group=groups[4], return_details=True)
    half = supcon_loss(x[own].bfloat16(), labels[own], group=groups[4])
    # Rows with strides of their own, labels of another dtype on each process, under autocast.
    odd = x[own].float().T.contiguous().T.requires_grad_()
    narrow = (labels[own] % 100).to((torch.int8, torch.int32, torch.uint8, torch.int64)[rank])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        odd_loss = supcon_loss(odd, narrow, group=groups[4])
    odd_loss.backward()
    return {
        "lonely": (lonely.detach(), z.grad),
        "empty": (empty.detach(), nothing.grad),
        "details": details,
        "half": half,
        "odd": (odd_loss.detach(), odd.grad),
        "alone": supcon_loss(x[own], labels[own]),
    }


def work(rank: int, folder: Path, names: tuple[str, ...]) -> None:
    warnings.simplefilter("error")
    tiled.TILE = 4  # several tiles a block
    distributed.init_process_group(
        "gloo",
        store=distributed.FileStore(str(folder / "store"), WORLD),
        rank=rank,
        world_size=WORLD,
        timeout=timedelta(seconds=120),
    )
    groups = {size: distributed.new_group(list(range(size))) for size in (2, 3)}
    groups[4] = distributed.group.WORLD
    answers = {
        "trained": {
            (name, cut): trained_in(groups[len(cut)], cut, name)
            for name in names
            for cut in (FUSED_CUTS if name == "fused" else CUTS)
            if rank < len(cut)
        },
        "wrapped": {cut: wrapped(groups[len(cut)], cut) for cut in CUTS if rank < len(cut)},
        "others": others(rank, groups),
        "faults": faults(rank, groups),
    }
    torch.save(answers, folder / f"{rank}.pt")
    distributed.destroy_process_group()


def launch(folder: str, *names: str) -> int:
    """Starts the processes, waits for them, and gives the worst exit code.

    Among ``names``, "fused" needs TRITON_INTERPRET=1 in the environment.
    """
    torch.set_num_threads(1)
    if "fused" in names:
        from lacvit.losses import fused  # imports triton, once for all processes

        fused.cut_for = lambda d, operands: fused.Cut(16, 16, 16)
    return joined([(work, (rank, Path(folder), names)) for rank in range(WORLD)])


def work_on(kind: str, rank: int, folder: Path) -> None:
    """The value and this process's gradient, in float32 on the CPU or on a GPU of its own."""
    warnings.simplefilter("error")
    device = torch.device(kind, rank) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group(
        "nccl" if kind == "cuda" else "gloo",
        store=distributed.FileStore(str(folder / "store"), len(UNEQUAL)),
        rank=rank,
        world_size=len(UNEQUAL),
        timeout=timedelta(seconds=120),
    )
    x, labels = inputs(sum(UNEQUAL))
    own = block_of(UNEQUAL, rank)
    z = x[own].float().to(device).requires_grad_()
    loss = supcon_loss(z, labels[own].to(device), group=distributed.group.WORLD)
    loss.backward()
    torch.save((loss.detach().cpu(), z.grad.cpu()), folder / f"{rank}.pt")
    distributed.destroy_process_group()


def launch_on(kind: str, folder: str) -> int:
    """`work_on` in a process for each of the blocks; gives the worst exit code."""
    torch.set_num_threads(1)
    return joined([(work_on, (kind, rank, Path(folder))) for rank in range(len(UNEQUAL))])


def joined(calls: list[tuple[Callable[..., None], tuple[Any, ...]]]) -> int:
    # Forked, so that torch is imported once. The parent has started no thread.
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=call, args=given) for call, given in calls]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return max(abs(process.exitcode or 0) for process in processes)
