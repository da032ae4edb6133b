"""Cross-entropy fine-tuning of backbone and head together: the baseline, tuned or the paper's.

Shape letters: B images, V views of each, N = B * V, C classes, D feature dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from lacvit.backbones.backbone import Backbone
from lacvit.config import CrossEntropySettings
from lacvit.data.batches import Batch, ViewPlan, view_batches
from lacvit.devices import autocast
from lacvit.training.material import (
    Compute,
    LabelledImages,
    encode_images,
    training_features,
)
from lacvit.training.optim import ParameterGroup, group_parameters
from lacvit.training.scores import correct, share_of_mean, smoothed_cross_entropy, validation_scores


class CrossEntropyStage:
    """One augmented view of each image -> backbone -> linear head -> cross-entropy."""

    name = "cross_entropy"

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Linear,
        train: LabelledImages,
        validation: LabelledImages,
        settings: CrossEntropySettings,
        views: ViewPlan,
        compute: Compute,
    ) -> None:
        self.modules: Mapping[str, nn.Module] = {"backbone": backbone, "head": head}
        self.steps_per_epoch = math.ceil(len(train) / views.batch_size)
        self._backbone, self._head = backbone, head
        self._train, self._validation = train, validation
        self._settings, self._views, self._compute = settings, views, compute

    def parameter_groups(self) -> list[ParameterGroup]:
        return group_parameters(self._backbone, {"head": self._head}, self._settings)

    def begin_epoch(self) -> None:
        self._backbone.train()
        self._head.train()

    def batches(self, epoch: int) -> Iterator[Batch]:
        return view_batches(self._train.images, self._train.labels_N, self._views, epoch)

    def step(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        with autocast(self._compute.device, self._compute.precision):
            features_ND = training_features(self._backbone, batch.views_BVCHW.flatten(0, 1))
            logits_NC = self._head(features_ND)
        views = batch.views_BVCHW.shape[1]
        labels_N = batch.labels_B.repeat_interleave(views)
        rows, group = views * len(batch.global_labels_G), self._compute.group
        losses_N = smoothed_cross_entropy(logits_NC, labels_N, self._settings.label_smoothing)
        accuracy = share_of_mean(correct(logits_NC, labels_N), rows, group).item()
        return share_of_mean(losses_N, rows, group), {"train_accuracy": accuracy}

    def validate(self) -> dict[str, float]:
        features = encode_images(self._validation.images, self._backbone, self._compute)
        labels_N = torch.tensor(self._validation.labels_N)
        return validation_scores(self._head, torch.from_numpy(features), labels_N)
