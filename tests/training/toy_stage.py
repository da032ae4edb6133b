"""A stage of a few hundred weights, with dropout, for tests of the loop."""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from lacvit.data.batches import epoch_order
from lacvit.training.optim import ParameterGroup

Batch = tuple[Tensor, Tensor]


class ToyStage:
    """Three classes of points; ``poison`` makes the loss NaN from that epoch on."""

    name = "toy"

    def __init__(self, *, n: int = 22, batch_size: int = 8, poison: int | None = None) -> None:
        draw = torch.Generator().manual_seed(0)
        self.labels = torch.arange(n) % 3
        self.points = torch.randn(n, 4, generator=draw) + 2 * functional.one_hot(self.labels, 4)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            body = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
        self.modules: Mapping[str, nn.Module] = {"body": body}
        self.steps_per_epoch = math.ceil(n / batch_size)
        self.body, self.batch_size, self.poison = body, batch_size, poison
        self.seen: list[int] = []
        self.epoch = -1

    def parameter_groups(self) -> list[ParameterGroup]:
        named = dict(self.body.named_parameters())
        return [ParameterGroup(tuple(named), tuple(named.values()), 1.0, 0.05)]

    def begin_epoch(self) -> None:
        self.body.train()

    def batches(self, epoch: int) -> Iterator[Batch]:
        self.epoch = epoch
        order = torch.from_numpy(epoch_order(len(self.labels), seed=3, epoch=epoch))
        for chunk in order.split(self.batch_size):
            self.seen += chunk.tolist()
            yield self.points[chunk], self.labels[chunk]

    def step(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        points, labels = batch
        loss = functional.cross_entropy(self.body(points), labels)
        if self.poison is not None and self.epoch >= self.poison:
            loss = loss * float("nan")
        return loss, {"size": float(len(labels))}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        self.body.eval()
        hits = self.body(self.points).argmax(1) == self.labels
        return {"validation_accuracy": hits.float().mean().item()}
