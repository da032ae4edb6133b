"""Stage 1: label-aware contrastive training of the whole encoder (LaCViT equation 1).

Shape letters: B images, V views of each, N = B * V, D feature dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from lacvit.backbones.backbone import Backbone
from lacvit.config import ContrastiveSettings
from lacvit.data.batches import Batch, ViewPlan, view_batches
from lacvit.devices import autocast
from lacvit.distributed import gather_rows
from lacvit.losses import contrastive_loss, loss_landmarks
from lacvit.metrics.neighbours import knn_accuracy
from lacvit.metrics.spectrum import effective_rank
from lacvit.training.cached_gradients import encode_in_chunks
from lacvit.training.heads import projection_for
from lacvit.training.material import (
    Compute,
    LabelledImages,
    encode_images,
    training_features,
)
from lacvit.training.optim import ParameterGroup, group_parameters


class ContrastiveStage:
    """Views -> backbone -> projection head -> contrastive loss (``settings.loss``) of all N views.

    Among several processes each encodes its share of the images, and the loss is that of all
    views of all processes. With ``micro_batch`` the share is encoded so many images at a time.

    Each epoch is judged by the k-NN accuracy of validation images among the epoch's own training
    views (their features are at hand, so the gallery costs no pass; it is a little stale), by
    the effective rank of the validation features, and by where the loss stands between its
    value at the start, ln(N - 1), and its floor, if it has them.
    """

    name = "contrastive"

    def __init__(
        self,
        backbone: Backbone,
        train: LabelledImages,
        validation: LabelledImages,
        settings: ContrastiveSettings,
        views: ViewPlan,
        compute: Compute,
    ) -> None:
        projection = projection_for(backbone.dim, settings).to(compute.device)
        self.modules: Mapping[str, nn.Module] = {"backbone": backbone, "projection": projection}
        self.steps_per_epoch = math.ceil(len(train) / views.batch_size)
        self._backbone, self._projection = backbone, projection
        self._train, self._validation = train, validation
        self._settings, self._views, self._compute = settings, views, compute
        self._loss = contrastive_loss(
            settings.loss,
            temperature=settings.temperature,
            negative_weighting=settings.negative_weighting,
            group=compute.group,
        )
        self._gallery: list[tuple[Tensor, Tensor, Tensor]] = []

    def parameter_groups(self) -> list[ParameterGroup]:
        return group_parameters(self._backbone, {"projection": self._projection}, self._settings)

    def begin_epoch(self) -> None:
        self._backbone.train()
        self._projection.train()
        self._gallery = []

    def batches(self, epoch: int) -> Iterator[Batch]:
        return view_batches(self._train.images, self._train.labels_N, self._views, epoch)

    def step(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        views, settings = batch.views_BVCHW.shape[1], self._settings
        views_NCHW = batch.views_BVCHW.flatten(0, 1)
        rows = settings.micro_batch and settings.micro_batch * views
        projections_ND, features_ND = encode_in_chunks(self._encode, views_NCHW, rows)
        labels_N, images_N = (
            numbers_B.repeat_interleave(views) for numbers_B in (batch.labels_B, batch.indices_B)
        )
        loss = self._loss(projections_ND, labels_N, images_N)
        # A copy: a view of one view would keep them all.
        seen_BD = features_ND.detach()[::views].float().cpu().clone()
        self._gallery.append((seen_BD, batch.labels_B, batch.indices_B))
        landmarks = loss_landmarks(
            settings.loss, batch.global_labels_G, views, settings.temperature
        )
        scalars = {name: settings.loss_scale * value for name, value in landmarks.items()}
        return settings.loss_scale * loss, scalars

    def _encode(self, views_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Projections with a graph, and features without."""
        with autocast(self._compute.device, self._compute.precision):
            features_ND = training_features(self._backbone, views_NCHW)
            return self._projection(features_ND), features_ND.detach()

    def validate(self) -> dict[str, float]:
        features_ND = encode_images(self._validation.images, self._backbone, self._compute)
        gallery, labels, indices = (
            gather_rows(torch.cat(rows).cpu().numpy(), self._compute.group)
            for rows in zip(*self._gallery, strict=True)
        )
        order = indices.argsort()  # whichever process had an image, and when
        scalars = {
            "knn_accuracy": knn_accuracy(
                gallery[order],
                labels[order],
                features_ND,
                self._validation.labels_N,
                k=self._settings.knn_k,
            )
        }
        if len(features_ND) > 1:  # one image spans nothing
            scalars["effective_rank"] = effective_rank(features_ND)
        return scalars
