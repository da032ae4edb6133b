"""The one encode loop: validation, cached features, evaluation and ``embed`` all use it.

Shape letters: N images, B in a batch, S pixels a side, D feature dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from lacvit.backbones.backbone import Backbone
from lacvit.devices import Precision, autocast
from lacvit.errors import Diverged

# Of the images of one forward pass on a processor: what goes through the network then stays in its
# caches. ViT-S at 224 pixels, two cores: 256 images in 19 s so, in 22 s all at once.
PIXELS_ON_A_PROCESSOR = 2**20


class Crops(BaseModel):
    """Parts of an image whose features are averaged with those of the whole.

    The whole image and its four corners, each enlarged to the whole's size; where an image means
    the same mirrored, the whole mirrored too, and two corners that lie across from one another.
    Krizhevsky et al. 2012, section 4.1, average what the network says of such crops; here the
    features, so that a head is fitted on what it will read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    side: float = Field(0.8, gt=0, lt=1, description="of a corner, as a share of the image's side")
    mirror: bool = Field(True, description="whether an image means the same mirrored")

    def __len__(self) -> int:
        return 6 if self.mirror else 5

    def of(self, images_B3SS: Tensor) -> Iterator[Tensor]:
        """The parts of every image, each a (B, 3, S, S)."""
        size = images_B3SS.shape[-1]
        inside = max(1, round(self.side * size))
        yield images_B3SS
        if self.mirror:
            yield images_B3SS.flip(3)
        for top, left in ((0, 0), (0, size - inside), (size - inside, 0), (size - inside,) * 2):
            corner = images_B3SS[:, :, top : top + inside, left : left + inside]
            corner = corner.flip(3) if self.mirror and top == left else corner
            yield functional.interpolate(corner, size=(size, size), mode="bicubic")


@torch.no_grad()
def encode(
    backbone: Backbone,
    batches: Iterable[Tensor],
    *,
    precision: Precision = "fp32",
    crops: Crops | None = None,
) -> np.ndarray:
    """Pooled features of every image, in order, with the backbone in evaluation mode.

    Args:
        backbone: on the device of the batches; its mode is restored afterwards.
        batches: normalised float images (B, 3, S, S); on a processor, large ones pass by parts.
        precision: of the forward pass; the features are float32 whatever it is.
        crops: None encodes whole images; else features are means over these parts of each.

    Returns:
        float32 array (N, D).

    Raises:
        Diverged: a feature is NaN or infinite; how many images have one is said.
    """
    was_training = backbone.training
    backbone.eval()
    features = []
    try:
        for images_B3SS in batches:
            for part_B3SS in images_B3SS.split(_at_once(images_B3SS)):
                with autocast(part_B3SS.device, precision):
                    features.append(_features(backbone, part_B3SS, crops).cpu())
    finally:
        backbone.train(was_training)
    if not features:
        return np.zeros((0, backbone.dim), np.float32)
    features_ND = torch.cat(features)
    finite_N = features_ND.isfinite().all(1)
    if not finite_N.all():
        raise Diverged(
            f"{backbone.origin.spec} gives features that are not finite for "
            f"{int((~finite_N).sum())} of {len(finite_N)} images. Its weights are damaged or "
            f"training diverged: use a lower --lr, or --set precision=fp32."
        )
    return features_ND.numpy()


def _features(backbone: Backbone, images_B3SS: Tensor, crops: Crops | None) -> Tensor:
    parts = [images_B3SS] if crops is None else crops.of(images_B3SS)
    return torch.stack([backbone(part_B3SS).float() for part_B3SS in parts]).mean(0)


def _at_once(images_B3SS: Tensor) -> int:
    """Images of one forward pass."""
    if images_B3SS.device.type != "cpu":
        return max(1, len(images_B3SS))
    return max(1, PIXELS_ON_A_PROCESSOR // images_B3SS.shape[2:].numel())
