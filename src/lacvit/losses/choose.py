"""The contrastive losses by name: what is called, and what its values lie between.

Shape letters: B images, N embeddings (views of all images), D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from lacvit.errors import InputError
from lacvit.losses.landmarks import supcon_floor, supcon_start
from lacvit.losses.npair import npair_loss
from lacvit.losses.simclr import ntxent_loss
from lacvit.losses.sincere import sincere_loss
from lacvit.losses.supcon import supcon_loss

# (projections_ND, labels_N, image_ids_N) -> scalar
ContrastiveLoss = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Choice:
    """One loss, and what it looks at."""

    compute: Callable[..., Tensor]
    by_image: bool = False
    """Views of one image attract, whatever their labels; else rows of one label do."""
    has_landmarks: bool = False
    """Whether `supcon_start` and `supcon_floor` hold for it, as for SupCon with any weighting."""


LOSSES: dict[str, Choice] = {
    "supcon": Choice(supcon_loss, has_landmarks=True),
    "simclr": Choice(ntxent_loss, by_image=True, has_landmarks=True),
    "npair": Choice(npair_loss),
    "sincere": Choice(sincere_loss),
}


def contrastive_loss(
    name: str,
    *,
    temperature: float,
    negative_weighting: float = 0.0,
    group: ProcessGroup | None = None,
) -> ContrastiveLoss:
    """The loss of that name as a function of projections, labels and image numbers.

    Args:
        name: a key of ``LOSSES``.
        temperature: divides the cosines.
        negative_weighting: beta of `supcon_loss`; other losses have none.
        group: the processes whose rows make up one batch.

    Raises:
        InputError: no loss of that name; a weighting with another loss than supcon.
    """
    choice = _find(name)
    compute = partial(choice.compute, temperature=temperature, group=group)
    if negative_weighting:
        if name != "supcon":
            raise InputError(
                f"negative_weighting is {negative_weighting} and the loss {name!r}; only supcon "
                "weights its negatives. Leave it at 0."
            )
        compute = partial(compute, negative_weighting=negative_weighting)

    def loss(projections_ND: Tensor, labels_N: Tensor, image_ids_N: Tensor) -> Tensor:
        return compute(projections_ND, image_ids_N if choice.by_image else labels_N)

    return loss


def loss_landmarks(name: str, labels_B: Tensor, views: int, temperature: float) -> dict[str, float]:
    """``loss_start`` and ``loss_floor`` of a batch; nothing for a loss that they do not fit.

    Args:
        name: a key of ``LOSSES``.
        labels_B: of the images of the whole batch, those of every process.
        views: rows of each image.
        temperature: divides the cosines.
    """
    choice = _find(name)
    if not choice.has_landmarks:
        return {}
    classes_B = torch.arange(len(labels_B)) if choice.by_image else labels_B
    return {
        "loss_start": supcon_start(views * len(labels_B)),
        "loss_floor": supcon_floor(classes_B.repeat_interleave(views), temperature),
    }


def _find(name: str) -> Choice:
    if name not in LOSSES:
        raise InputError(
            f"there is no contrastive loss {name!r}; choose one of {', '.join(LOSSES)}."
        )
    return LOSSES[name]
