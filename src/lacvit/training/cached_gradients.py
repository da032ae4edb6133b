"""Gradient caching: a contrastive batch larger than the memory for its activations.

Gao, Zhang, Han and Callan 2021, "Scaling Deep Contrastive Learning Batch Size under Memory
Limited Setup" (arXiv 2101.06983), section 3:

1. encode the batch chunk by chunk without a graph, and note each chunk's random state;
2. take the loss of all embeddings, and its gradient with respect to each of them;
3. encode each chunk again, with the random state that it had, and send its embeddings'
   gradient back through it.

The gradient is that of one pass over the same chunks that keeps its whole graph, up to rounding:
a second look, not an approximation. Without dropout it is the gradient of the undivided batch,
whatever the chunks. The price is a second forward pass. It holds for encoders that treat each row
alone, as vision transformers do: batch normalisation would see the chunk for the batch.

Shape letters: N views, C chunks.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from lacvit.errors import InputError

# Views of a chunk -> tensors with a row a view, each with a gradient or detached.
Encode = Callable[[Tensor], tuple[Tensor, ...]]


def encode_in_chunks(encode: Encode, views_N: Tensor, rows: int | None) -> tuple[Tensor, ...]:
    """``encode(views_N)``, ``rows`` rows at a time, with one chunk's graph alive at any moment.

    Without ``rows`` it is ``encode(views_N)``, whose whole graph is kept.

    What comes back has a gradient like any other: ``backward`` of a loss made of it runs steps 2
    and 3. It must be ``loss.backward()``, not ``torch.autograd.grad``: the encoder's gradients
    are left in its parameters, chunk after chunk.

    Args:
        encode: reads parameters and random numbers, and writes nothing. Autocast, where it is
            wanted, belongs inside.
        views_N: N rows on any device, at least one.
        rows: of a chunk; the last one may be shorter. None for all at once.

    Raises:
        InputError: on Apple's mps.

    Returns:
        For each tensor that ``encode`` gives, the same over all N rows.
    """
    # Reentrant checkpointing is steps 1 and 3, random state and autocast included, and keeps
    # nothing of a chunk but its input; the other kind would keep a graph without its tensors.
    # It runs backward only for an argument that has a gradient, which the views have not.
    if rows is None:
        return encode(views_N)
    if views_N.device.type == "mps":  # whose random state torch's checkpoint does not keep
        raise InputError("micro_batch cannot be used on mps. Use a smaller --batch-size there.")
    trigger = torch.zeros((), requires_grad=True)
    parts_C = [
        checkpoint(lambda part, _: encode(part), part, trigger, use_reentrant=True)
        for part in views_N.split(rows)
    ]
    return tuple(torch.cat(tensors_C) for tensors_C in zip(*parts_C, strict=True))


def refuse_batch_norm(module: nn.Module) -> None:
    """Refuse an encoder that does not treat each row alone.

    Raises:
        InputError: it has batch normalisation.
    """
    for name, part in module.named_modules():
        if isinstance(part, _BatchNorm):
            raise InputError(
                f"{name} is batch normalisation, which sees each chunk of a batch for the whole. "
                f"Leave micro_batch out and use one process, or choose a vision "
                f"transformer without it."
            )
