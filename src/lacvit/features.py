"""The one encode loop: validation, cached features, evaluation and ``embed`` all use it.

Shape letters: N images, B in a batch, D feature dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from lacvit.backbones.backbone import Backbone
from lacvit.devices import Precision, autocast
from lacvit.errors import Diverged

# Of the images of one forward pass on a processor: what goes through the network then stays in its
# caches. ViT-S at 224 pixels, two cores: 256 images in 19 s so, in 22 s all at once.
PIXELS_ON_A_PROCESSOR = 2**20


@torch.no_grad()
def encode(
    backbone: Backbone, batches: Iterable[Tensor], *, precision: Precision = "fp32"
) -> np.ndarray:
    """Pooled features of every image, in order, with the backbone in evaluation mode.

    Args:
        backbone: on the device of the batches; its mode is restored afterwards.
        batches: normalised float images (B, 3, S, S); on a processor, large ones pass by parts.
        precision: of the forward pass; the features are float32 whatever it is.

    Returns:
        float32 array (N, D).

    Raises:
        Diverged: a feature is NaN or infinite; the first such image is named by its number.
    """
    was_training = backbone.training
    backbone.eval()
    features = []
    try:
        for images_B3SS in batches:
            for part_B3SS in images_B3SS.split(_at_once(images_B3SS)):
                with autocast(part_B3SS.device, precision):
                    features.append(backbone(part_B3SS).float().cpu())
    finally:
        backbone.train(was_training)
    if not features:
        return np.zeros((0, backbone.dim), np.float32)
    features_ND = torch.cat(features)
    finite_N = features_ND.isfinite().all(1)
    if not finite_N.all():
        raise Diverged(
            f"{backbone.origin.spec} gives features that are not finite for "
            f"{int((~finite_N).sum())} of {len(finite_N)} images, first for image "
            f"{int((~finite_N).nonzero()[0])}. Its weights are damaged or training diverged: "
            f"use a lower --lr, or --set precision=fp32."
        )
    return features_ND.numpy()


def _at_once(images_B3SS: Tensor) -> int:
    """Images of one forward pass."""
    if images_B3SS.device.type != "cpu":
        return max(1, len(images_B3SS))
    return max(1, PIXELS_ON_A_PROCESSOR // images_B3SS.shape[2:].numel())
