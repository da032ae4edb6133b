"""How SupCon's relatives are called: arguments checked, processes brought together, graphs left.

Shape letters: N rows of all processes, R of them this process's, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from lacvit.losses.batch import Batch, averaged_later, gather_batch, meet
from lacvit.losses.rows import enter

# (z_ND, batch) -> scalar; z_ND are the rows of all processes, this one's with their graph.
BatchLoss = Callable[[Tensor, Batch], Tensor]


def loss_of_all(
    name: str,
    compute: BatchLoss,
    embeddings_RD: Tensor,
    labels_R: Tensor,
    *,
    temperature: float,
    normalize: bool,
    group: ProcessGroup | None,
) -> Tensor:
    """``compute``, the loss of that name, on the checked rows of every process of the group.

    Every process computes the whole loss: the value is the single process's and so, under
    DistributedDataParallel's averaging, is the gradient; the work is not divided. A caller under
    ``torch.compile`` runs it as it stands, between two graphs: what it does depends on the data.

    Raises:
        InputError: as `supcon_loss`.
    """
    run: Callable[..., Tensor] = _loss_of_all
    if torch.compiler.is_compiling():
        run = torch.compiler.disable(_loss_of_all)
    return run(name, compute, embeddings_RD, labels_R, temperature, normalize, group)


def _loss_of_all(
    name: str,
    compute: BatchLoss,
    embeddings_RD: Tensor,
    labels_R: Tensor,
    temperature: float,
    normalize: bool,
    group: ProcessGroup | None,
) -> Tensor:
    check = partial(enter, embeddings_RD, labels_R, temperature, normalize)
    alike = {"loss": name, "temperature": temperature, "normalize": normalize}
    z_RD, labels_R, block = meet(check, group, alike)
    batch = gather_batch(z_RD, labels_R, float(temperature), embeddings_RD.dtype, block)
    with torch.autocast(z_RD.device.type, enabled=False):
        loss = compute(batch.with_graph(z_RD), batch)
    return averaged_later(loss, block)
