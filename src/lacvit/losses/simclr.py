"""NT-Xent, SimCLR's loss: SupCon where every image is a class of its own.

Shape letters: N embeddings (views), D dimensions.
"""

from __future__ import annotations

from torch import Tensor
from torch.distributed import ProcessGroup

from lacvit.losses.supcon import supcon_loss


def ntxent_loss(
    embeddings_ND: Tensor,
    image_ids_N: Tensor,
    *,
    temperature: float = 0.1,
    normalize: bool = True,
    group: ProcessGroup | None = None,
) -> Tensor:
    """Normalised temperature-scaled cross-entropy (Chen et al. 2020, arXiv 2002.05709, equation 1).

    ``mean_i -log [ exp(z_i.z_j / t) / sum_{a != i} exp(z_i.z_a / t) ]`` with j the other view of
    i's image: cross-entropy with the other view as the answer. It is `supcon_loss` with image
    numbers for labels, and inherits its speed, its memory and its conventions: with more than two
    views the mean over the other views, and a row whose image has no other view is left out.

    Args:
        embeddings_ND: any floating dtype, one row a view.
        image_ids_N: any integer dtype; views of one image share a number and no other image of
            the batch has it. ``torch.arange(B).repeat_interleave(V)`` for views side by side.
        temperature: divides the cosines (SimCLR: 0.1 to 0.5).
        normalize: bring the rows to unit length first.
        group: the processes that share the batch; image numbers are compared across all of them.

    Raises:
        InputError: as `supcon_loss`.
    """
    return supcon_loss(
        embeddings_ND, image_ids_N, temperature=temperature, normalize=normalize, group=group
    )
