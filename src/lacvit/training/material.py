"""What every stage trains on: decoded images with labels, and where the encoder runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lacvit.backbones.backbone import Backbone
from lacvit.data.batches import DecodedImages, evaluation_batches
from lacvit.devices import Precision
from lacvit.features import encode


@dataclass(frozen=True)
class LabelledImages:
    """Decoded images with their class ids, int64 (N,)."""

    images: DecodedImages
    labels_N: np.ndarray

    def __len__(self) -> int:
        return len(self.labels_N)


@dataclass(frozen=True)
class Compute:
    """Where and how the encoder runs."""

    device: torch.device
    precision: Precision
    evaluation_batch: int
    workers: int


def evaluation_images(
    images: DecodedImages, backbone: Backbone, compute: Compute
) -> Iterator[Tensor]:
    """Normalised batches in order, for :func:`lacvit.features.encode`."""
    return evaluation_batches(
        images, backbone.input_spec, batch_size=compute.evaluation_batch, device=compute.device
    )


def encode_images(images: DecodedImages, backbone: Backbone, compute: Compute) -> np.ndarray:
    """Pooled features, float32 (N, D), of the images as they are seen at prediction."""
    return encode(
        backbone, evaluation_images(images, backbone, compute), precision=compute.precision
    )
