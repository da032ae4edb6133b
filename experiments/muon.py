"""Muon (Jordan et al. 2024): momentum whose matrix is replaced by the nearest orthogonal one.

torch.optim.Muon iterates in bfloat16, which a CPU without bfloat16 units emulates; this one
stays in float32 and treats all weights of one shape as one batch.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch

# Coefficients of the quintic iteration x <- a x + b (x x') x + c (x x')^2 x, from the original.
QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """For the weight matrices of hidden layers only; the rest belongs to AdamW.

    A step moves W by ``lr * sqrt(max(1, rows / columns)) * orthogonal(momentum)`` after decay.
    """

    def __init__(
        self,
        matrices: Iterable[torch.nn.Parameter],
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[torch.nn.Parameter]] = defaultdict(list)
            for weight in group["params"]:
                by_shape[weight.shape].append(weight)
            for shape, weights in by_shape.items():
                directions = [self._nesterov(weight, group["momentum"]) for weight in weights]
                lr = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for weight, update in zip(
                    weights, orthogonal(torch.stack(directions)), strict=True
                ):
                    weight.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=lr)

    def _nesterov(self, weight: torch.nn.Parameter, momentum: float) -> torch.Tensor:
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        mean: torch.Tensor = state["momentum"]
        mean.lerp_(weight.grad, 1 - momentum)
        return weight.grad.lerp(mean, momentum)


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """About U V' of each matrix's singular value decomposition U S V'."""
    a, b, c = QUINTIC
    wide = matrices.mT if matrices.shape[-2] > matrices.shape[-1] else matrices
    x = wide / (wide.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if matrices.shape[-2] > matrices.shape[-1] else x
