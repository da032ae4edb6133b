"""What every stage trains on: decoded images with labels, and where the encoder runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lacvit.backbones.backbone import Backbone
from lacvit.data.batches import DecodedImages, evaluation_batches
from lacvit.devices import Precision
from lacvit.distributed import Group, gather_rows, rank_of, size_of, together
from lacvit.features import Crops, encode


@dataclass(frozen=True)
class LabelledImages:
    """Decoded images with their class ids, int64 (N,)."""

    images: DecodedImages
    labels_N: np.ndarray

    def __len__(self) -> int:
        return len(self.labels_N)


@dataclass(frozen=True)
class Compute:
    """Where and how the encoder runs; with a group, on a share of the images in each process."""

    device: torch.device
    precision: Precision
    evaluation_batch: int
    workers: int
    group: Group = None

    @property
    def in_float32(self) -> Compute:
        """The same for features that a head or a measure is made of: a saved model gives these."""
        return replace(self, precision="fp32")


def training_features(backbone: Backbone, views_NCHW: Tensor) -> Tensor:
    """Pooled features (N, D) with their graph; N may be 0, which not every network takes."""
    if len(views_NCHW) == 0:
        return views_NCHW.new_zeros(0, backbone.dim).requires_grad_()
    features_ND: Tensor = backbone(views_NCHW)
    return features_ND


def evaluation_images(
    images: DecodedImages, backbone: Backbone, compute: Compute
) -> Iterator[Tensor]:
    """This process's images in order, normalised, for :func:`lacvit.features.encode`."""
    return evaluation_batches(
        images,
        backbone.input_spec,
        batch_size=compute.evaluation_batch,
        device=compute.device,
        rank=rank_of(compute.group),
        world_size=size_of(compute.group),
    )


def encode_images(
    images: DecodedImages, backbone: Backbone, compute: Compute, crops: Crops | None = None
) -> np.ndarray:
    """Pooled features, float32 (N, D), of whole images, or means over ``crops`` of each.

    Each process encodes its share, so that every image is encoded once, and gets all features.
    """
    batches = evaluation_images(images, backbone, compute)

    def encoded() -> np.ndarray:
        return encode(backbone, batches, precision=compute.precision, crops=crops)

    return gather_rows(together(encoded, compute.group), compute.group)
