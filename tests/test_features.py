"""The one encode loop: order, dtype, mode, and no NaN that goes unnoticed."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lacvit import features
from lacvit.backbones import Architecture, Backbone, Origin
from lacvit.config import make_settings
from lacvit.errors import InputError
from lacvit.features import Crops, encode
from lacvit.input_spec import InputSpec
from lacvit.planning import crops_of


class Means(nn.Module):
    """The mean of each channel, by dropout and a learnt scale."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.dropout = nn.Dropout(0.5)

    def forward(self, images: Tensor) -> Tensor:
        return self.dropout(images.mean((2, 3)) * self.scale)  # type: ignore[no-any-return]


def backbone() -> Backbone:
    return Backbone(
        Means(),
        dim=3,
        input_spec=InputSpec(size=4, mean=(0, 0, 0), std=(1, 1, 1)),
        architecture=Architecture(source="none", name="means", arguments={}),
        origin=Origin(spec="means", format="none"),
        blocks=[],
        final=[],
    )


IMAGES = torch.randn(7, 3, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("batch", [1, 3, 7, 10])
@pytest.mark.parametrize("training", [True, False])
def test_features_come_in_order_whatever_the_batches(batch: int, training: bool) -> None:
    model = backbone().train(training)
    found = encode(model, IMAGES.split(batch))
    np.testing.assert_array_equal(found, IMAGES.mean((2, 3)).numpy())
    assert found.dtype == np.float32
    assert model.training is training
    assert model.encoder.dropout.training is training  # type: ignore[union-attr]


@pytest.mark.parametrize(("pixels", "parts"), [(40, [2, 2, 2, 1]), (1, [1] * 7), (10**6, [7])])
def test_on_a_processor_large_images_pass_some_at_a_time(
    pixels: int, parts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "PIXELS_ON_A_PROCESSOR", pixels)
    model, seen = backbone(), []
    model.register_forward_pre_hook(lambda _, arguments: seen.append(len(arguments[0])))
    found = encode(model, [IMAGES])
    np.testing.assert_array_equal(found, IMAGES.mean((2, 3)).numpy())
    assert seen == parts


def test_features_are_float32_whatever_the_precision() -> None:
    found = encode(backbone(), [IMAGES], precision="bf16")
    assert found.dtype == np.float32


def test_a_feature_is_the_mean_over_the_whole_and_its_corners() -> None:
    crops = Crops(side=0.5, mirror=False)
    images = torch.arange(16.0).view(1, 1, 4, 4).expand(1, 3, 4, 4)
    whole, *corners = (part[0, 0] for part in crops.of(images))
    assert len(corners) + 1 == len(crops) == 5
    torch.testing.assert_close(whole, images[0, 0])
    middles = [(part[1, 1] + part[1, 2] + part[2, 1] + part[2, 2]).item() / 4 for part in corners]
    assert middles == pytest.approx([2.5, 4.5, 10.5, 12.5]), "top left, top right, and below them"
    found = encode(backbone(), [images], crops=crops)
    parts = [encode(backbone(), [part]) for part in crops.of(images)]
    np.testing.assert_allclose(found, np.mean(parts, axis=0), rtol=1e-6)


def test_the_parts_of_a_mirrored_image_are_the_same_mirrored() -> None:
    """All but the two corners that have no mirrored one among them."""
    crops = Crops(side=0.75)
    parts = list(crops.of(IMAGES))
    assert len(parts) == len(crops) == 6
    torch.testing.assert_close(parts[1], IMAGES.flip(3))
    others = list(crops.of(IMAGES.flip(3)))
    torch.testing.assert_close(others[0], parts[1])
    torch.testing.assert_close(others[2], parts[3])  # the top left one, mirrored: the top right
    torch.testing.assert_close(others[5], parts[4])


@pytest.mark.parametrize(("flip", "parts"), [(0.5, 6), (0.0, 5)])
def test_no_part_is_mirrored_where_views_are_not(flip: float, parts: int) -> None:
    settings = make_settings(recipe={"features.crops": "corners", "views.flip": flip})
    crops = crops_of(settings)
    assert crops is not None
    assert len(crops) == parts
    assert crops_of(make_settings()) is None


def test_no_images_give_no_rows() -> None:
    assert encode(backbone(), []).shape == (0, 3)


def test_the_mode_is_restored_after_a_failure() -> None:
    model = backbone().train()
    with pytest.raises(IndexError):
        encode(model, [torch.zeros(3)])
    assert model.training


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_refused(value: float) -> None:
    images = IMAGES.clone()
    images[5, 0, 0, 0] = value
    with pytest.raises(InputError) as refused:
        encode(backbone(), images.split(2))
    assert str(refused.value).startswith(
        "means gives features that are not finite for 1 of 7 images."
    )
