"""Stage 2: a linear head on the frozen encoder, exactly or by SGD.

Shape letters: N images, B in a batch, C classes, D feature dimensions.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from torch import Tensor, nn

from lacvit.backbones.backbone import Backbone
from lacvit.config import HeadSettings
from lacvit.data.batches import ViewPlan, epoch_order, share, view_batches
from lacvit.devices import threads_for
from lacvit.distributed import rank_of, size_of
from lacvit.features import Crops
from lacvit.training.material import (
    Compute,
    LabelledImages,
    encode_images,
    training_features,
)
from lacvit.training.optim import ParameterGroup
from lacvit.training.scores import correct, share_of_mean, smoothed_cross_entropy, validation_scores

EXACT_ITERATIONS = 1000
SGD_EPOCHS = 100


@dataclass(frozen=True)
class LabelledFeatures:
    """Pooled features, float32 (N, D), with class ids, int64 (N,)."""

    features_ND: np.ndarray
    labels_N: np.ndarray


def joined(first: LabelledFeatures, second: LabelledFeatures) -> LabelledFeatures:
    """The rows of both, the first's first."""
    return LabelledFeatures(
        np.concatenate([first.features_ND, second.features_ND]),
        np.concatenate([first.labels_N, second.labels_N]),
    )


@dataclass(frozen=True)
class ExactHead:
    """The weights of a solved head, and how its strength was chosen."""

    weight_CD: np.ndarray
    bias_C: np.ndarray
    strength: float
    tried: tuple[dict[str, float], ...]  # one row a strength: strength, loss, accuracy, ...


@dataclass(frozen=True)
class Settled:
    """What validation images chose in other runs, for one that trains on every image."""

    strengths: Mapping[str, float]  # of exact heads, by the stage that begins with one
    temperature: float


def fit_exact_head(
    train: LabelledFeatures,
    validation: LabelledFeatures,
    *,
    classes: int,
    strengths: Sequence[float],
    iterations: int = EXACT_ITERATIONS,
) -> ExactHead:
    """Multinomial logistic regression by L-BFGS: deterministic, and no learning rate.

    Features are standardised by the training set's mean and deviation, which are then folded
    into the weights, so the head applies to features as they are. The inverse L2 strength with
    the best validation accuracy is taken, and among equals the one of least validation loss.
    """
    mean = train.features_ND.mean(0, dtype=np.float64)
    deviation = train.features_ND.std(0, dtype=np.float64)
    deviation[deviation < 1e-8 * max(1.0, deviation.max())] = 1.0  # a constant feature says nothing
    x, x_validation = ((split.features_ND - mean) / deviation for split in (train, validation))
    tried: list[dict[str, float]] = []
    best: tuple[tuple[float, float], Any, float] | None = None
    # From the strongest penalty down, each solution is where the next one starts: a third fewer
    # iterations. The model is one object throughout, so the best one is a copy.
    model = LogisticRegression(max_iter=iterations, warm_start=True)
    with threads_for(x.size), warnings.catch_warnings():
        # Not converging within the user's own bound is recorded in `iterations`.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for strength in sorted(strengths):
            model.set_params(C=strength)
            model.fit(x, train.labels_N)
            row = _score(model, x, train.labels_N, x_validation, validation.labels_N)
            tried.append({"strength": strength, **row})
            rank = (row["validation_accuracy"], -row["validation_loss"])
            if best is None or rank > best[0]:
                best = (rank, copy.deepcopy(model), strength)
    assert best is not None  # there is at least one strength
    weight, bias = _unfold(best[1], classes, mean, deviation)
    return ExactHead(weight, bias, best[2], tuple(tried))


def fit_on_both(
    train: LabelledFeatures,
    validation: LabelledFeatures,
    chosen: ExactHead,
    *,
    iterations: int = EXACT_ITERATIONS,
) -> ExactHead:
    """The head fitted on training and validation images, by the strength that the latter chose.

    There is no image left that could judge it: what validation says is said of ``chosen``.
    """
    found = fit_exact_head(
        joined(train, validation),
        validation,
        classes=len(chosen.bias_C),
        strengths=(chosen.strength,),
        iterations=iterations,
    )
    return replace(chosen, weight_CD=found.weight_CD, bias_C=found.bias_C)


def _score(
    model: Any, x: np.ndarray, y: np.ndarray, x_validation: np.ndarray, y_validation: np.ndarray
) -> dict[str, float]:
    predicted = model.predict_proba(x_validation)
    return {
        "loss": float(log_loss(y, model.predict_proba(x), labels=model.classes_)),
        "validation_loss": float(log_loss(y_validation, predicted, labels=model.classes_)),
        "validation_accuracy": float(model.score(x_validation, y_validation)),
        "iterations": float(model.n_iter_.max()),
    }


def _unfold(
    model: Any, classes: int, mean: np.ndarray, deviation: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weights on features as they are; two classes get a row each, as all others do."""
    coefficients, intercept = model.coef_, model.intercept_
    if len(coefficients) == 1:
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercept = np.concatenate([-intercept, intercept]) / 2
    weight = coefficients / deviation
    bias = intercept - weight @ mean
    assert len(weight) == classes, "every class has a training image"
    return weight.astype(np.float32), bias.astype(np.float32)


class FeatureBatch(NamedTuple):
    """This process's features (B, D) and labels (B,), and how many rows the step has in all."""

    features_BD: Tensor
    labels_B: Tensor
    rows: int


class HeadStage:
    """The head by SGD as the paper's code trains it: momentum 0.9, no weight decay.

    Features are cached, or encoded live from a cropped and flipped view an epoch. The encoder
    stays in evaluation mode: no dropout, no drop-path, no gradient.
    """

    name = "head"

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Linear,
        train: LabelledImages,
        validation: LabelledImages,
        settings: HeadSettings,
        views: ViewPlan,
        compute: Compute,
        crops: Crops | None = None,
    ) -> None:
        self.modules: Mapping[str, nn.Module] = {"head": head}
        self.steps_per_epoch = math.ceil(len(train) / settings.batch_size)
        self._backbone, self._head = backbone, head
        self._train, self._settings, self._views, self._compute = train, settings, views, compute
        self._crops = crops
        self._validation = self._encode(validation)
        self._cached = None if settings.features == "live" else self._encode(train)

    def _encode(self, split: LabelledImages) -> tuple[Tensor, Tensor]:
        device = self._compute.device
        found = encode_images(split.images, self._backbone, self._compute.in_float32, self._crops)
        return torch.from_numpy(found).to(device), torch.tensor(split.labels_N).to(device)

    def parameter_groups(self) -> list[ParameterGroup]:
        named = dict(self._head.named_parameters(prefix="head"))
        return [ParameterGroup(tuple(named), tuple(named.values()), 1.0, 0.0)]

    def begin_epoch(self) -> None:
        self._backbone.eval()
        self._head.train()

    def batches(self, epoch: int) -> Iterator[FeatureBatch]:
        return self._live(epoch) if self._cached is None else self._from_cache(epoch)

    def _from_cache(self, epoch: int) -> Iterator[FeatureBatch]:
        assert self._cached is not None
        features, labels = self._cached
        group, size = self._compute.group, self._settings.batch_size
        order = epoch_order(len(labels), seed=self._views.seed, epoch=epoch)
        for start in range(0, len(order), size):
            part = order[start : start + size]
            own = torch.from_numpy(share(part, rank_of(group), size_of(group))).to(labels.device)
            yield FeatureBatch(features[own], labels[own], len(part))

    def _live(self, epoch: int) -> Iterator[FeatureBatch]:
        for batch in view_batches(self._train.images, self._train.labels_N, self._views, epoch):
            with torch.no_grad():  # in float32, as the saved model reads images
                views_BCHW = batch.views_BVCHW.flatten(0, 1)
                features = training_features(self._backbone, views_BCHW).float()
            yield FeatureBatch(features, batch.labels_B, len(batch.global_labels_G))

    def step(self, batch: FeatureBatch) -> tuple[Tensor, dict[str, float]]:
        logits_BC = self._head(batch.features_BD)
        losses_B = smoothed_cross_entropy(logits_BC, batch.labels_B, 0.0)
        hits_B = correct(logits_BC, batch.labels_B)
        loss, accuracy = (
            share_of_mean(values, batch.rows, self._compute.group) for values in (losses_B, hits_B)
        )
        return loss, {"train_accuracy": accuracy.item()}

    def validate(self) -> dict[str, float]:
        return validation_scores(self._head, *self._validation)
