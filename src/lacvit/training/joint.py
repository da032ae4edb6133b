"""Cross-entropy and label-aware contrast together: one stage, two heads, the same views.

Shape letters: B images, V views of each, N = B * V, C classes, D feature dimensions, P projection
dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from lacvit.backbones.backbone import Backbone
from lacvit.config import JointSettings
from lacvit.data.batches import Batch, ViewPlan, view_batches
from lacvit.devices import autocast
from lacvit.losses import contrastive_loss
from lacvit.training.cached_gradients import encode_in_chunks
from lacvit.training.heads import projection_for
from lacvit.training.material import (
    Compute,
    LabelledImages,
    encode_images,
    training_features,
)
from lacvit.training.optim import ParameterGroup, group_parameters
from lacvit.training.scores import correct, share_of_mean, smoothed_cross_entropy, validation_scores


class JointStage:
    """Views -> backbone -> linear head and projection head -> (1 - w) L_CE + w L_contrast.

    Both losses are means over all N views of the batch, those of other processes included, and
    ``w`` is ``settings.contrastive_weight``: Gunel et al. 2021 (arXiv 2011.01403, equation 1), who
    contrast the features of one view; here projections of them are contrasted, as in LaCViT. With
    ``negative_weighting`` it is the combination of CLCE (Long et al. 2024, arXiv 2402.14551).
    """

    name = "joint"

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Linear,
        train: LabelledImages,
        validation: LabelledImages,
        settings: JointSettings,
        views: ViewPlan,
        compute: Compute,
    ) -> None:
        projection = projection_for(backbone.dim, settings).to(compute.device)
        self._heads: Mapping[str, nn.Module] = {"head": head, "projection": projection}
        self.modules: Mapping[str, nn.Module] = {"backbone": backbone, **self._heads}
        self.steps_per_epoch = math.ceil(len(train) / views.batch_size)
        self._backbone, self._head, self._projection = backbone, head, projection
        self._train, self._validation = train, validation
        self._settings, self._views, self._compute = settings, views, compute
        self._contrast = contrastive_loss(
            settings.loss,
            temperature=settings.temperature,
            negative_weighting=settings.negative_weighting,
            group=compute.group,
        )

    def parameter_groups(self) -> list[ParameterGroup]:
        return group_parameters(self._backbone, self._heads, self._settings)

    def begin_epoch(self) -> None:
        for module in self.modules.values():
            module.train()

    def batches(self, epoch: int) -> Iterator[Batch]:
        return view_batches(self._train.images, self._train.labels_N, self._views, epoch)

    def step(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        views, settings, group = batch.views_BVCHW.shape[1], self._settings, self._compute.group
        views_NCHW = batch.views_BVCHW.flatten(0, 1)
        chunk = settings.micro_batch and settings.micro_batch * views
        logits_NC, projections_NP = encode_in_chunks(self._encode, views_NCHW, chunk)
        labels_N, images_N = (
            numbers_B.repeat_interleave(views) for numbers_B in (batch.labels_B, batch.indices_B)
        )
        losses_N = smoothed_cross_entropy(logits_NC, labels_N, settings.label_smoothing)
        hits_N = correct(logits_NC, labels_N)
        rows = views * len(batch.global_labels_G)
        cross_entropy, accuracy = (share_of_mean(x, rows, group) for x in (losses_N, hits_N))
        contrast = self._contrast(projections_NP, labels_N, images_N)
        weight = settings.contrastive_weight
        scalars = {
            "cross_entropy_loss": cross_entropy.item(),
            "contrastive_loss": contrast.item(),
            "train_accuracy": accuracy.item(),
        }
        return (1 - weight) * cross_entropy + weight * contrast, scalars

    def _encode(self, views_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and projections, both with a graph."""
        with autocast(self._compute.device, self._compute.precision):
            features_ND = training_features(self._backbone, views_NCHW)
            return self._head(features_ND), self._projection(features_ND)

    def validate(self) -> dict[str, float]:
        features = encode_images(self._validation.images, self._backbone, self._compute)
        labels_N = torch.tensor(self._validation.labels_N)
        return validation_scores(self._head, torch.from_numpy(features), labels_N)
