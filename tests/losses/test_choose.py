"""The table of losses: a name leads to its function, its rows and its landmarks."""

import math
from typing import get_args

import pytest
import torch

from lacvit.config.settings import ContrastiveSettings
from lacvit.errors import InputError
from lacvit.losses import contrastive_loss, loss_landmarks, supcon_floor, supcon_loss
from lacvit.losses.choose import LOSSES

LABELS = torch.tensor([0, 0, 1, 1])
IMAGES = torch.tensor([0, 1, 2, 3])


def test_the_settings_offer_the_table() -> None:
    assert get_args(ContrastiveSettings.model_fields["loss"].annotation) == tuple(LOSSES)


@pytest.mark.parametrize("name", LOSSES)
def test_what_attracts_is_an_image_or_a_class(name: str) -> None:
    z = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    labels, images = LABELS.repeat_interleave(2), IMAGES.repeat_interleave(2)
    loss = contrastive_loss(name, temperature=0.2)
    alone = LOSSES[name].compute(z, images if name == "simclr" else labels, temperature=0.2)
    assert torch.equal(loss(z, labels, images), alone)
    other = contrastive_loss(name, temperature=0.3)
    assert not torch.equal(other(z, labels, images), alone)


def test_supcon_weights_its_negatives_and_no_other_loss_does() -> None:
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    loss = contrastive_loss("supcon", temperature=0.2, negative_weighting=2)
    expected = supcon_loss(z, LABELS, temperature=0.2, negative_weighting=2)
    assert torch.equal(loss(z, LABELS, IMAGES), expected)
    with pytest.raises(InputError, match="negative_weighting is 2 and the loss 'npair'; only sup"):
        contrastive_loss("npair", temperature=0.2, negative_weighting=2)


@pytest.mark.parametrize(("name", "classes"), [("supcon", LABELS), ("simclr", IMAGES)])
def test_landmarks_count_classes_or_images(name: str, classes: torch.Tensor) -> None:
    assert loss_landmarks(name, LABELS, 3, 0.1) == {
        "loss_start": pytest.approx(math.log(11)),
        "loss_floor": pytest.approx(supcon_floor(classes.repeat_interleave(3), 0.1)),
    }


@pytest.mark.parametrize("name", ["npair", "sincere"])
def test_other_losses_have_no_landmarks(name: str) -> None:
    assert loss_landmarks(name, LABELS, 2, 0.1) == {}


def test_an_unknown_loss_is_refused_with_all_names() -> None:
    with pytest.raises(InputError, match=r"no contrastive loss 'triplet'; choose one of supcon, s"):
        contrastive_loss("triplet", temperature=0.1)
