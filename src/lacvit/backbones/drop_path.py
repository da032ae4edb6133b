"""Drop-path (stochastic depth, Huang et al. 2016) for blocks of any library.

In training, each residual branch of block ``i`` of ``L`` is left out for an image with
probability ``rate * i / (L - 1)`` and scaled up by what remains otherwise, as in timm. Both
libraries have a place for it in most of their blocks; where a block has none, its branches are
caught as they come out.
"""

from __future__ import annotations

from typing import Any

from timm.layers.drop import DropPath
from torch import Tensor, nn

from lacvit.backbones.backbone import Backbone
from lacvit.errors import InputError

# The residual branches of those blocks of transformers that have no drop-path of their own, or what
# ends one (YOLOS adds what went round the branch inside of "output").
BRANCHES = ("attention", "self_attn", "mlp", "ffn", "output.dense")


def set_drop_path(backbone: Backbone, rate: float) -> None:
    """Give a backbone's blocks drop-path, in place, once. The weights' names stay as they are.

    At 0 what they have of it is taken away.

    Raises:
        InputError: a block has no residual branch that could be dropped.
    """
    depth = len(backbone.blocks())
    for index, block in enumerate(backbone.blocks()):
        _set(block, rate * index / max(1, depth - 1), backbone.origin.spec)


def _set(block: nn.Module, rate: float, spec: str) -> None:
    places = [name for name, _ in block.named_modules() if "drop_path" in name.rpartition(".")[2]]
    if places:
        for name in places:
            block.set_submodule(name, DropPath(rate))
        return
    if rate == 0:
        return
    branches = [module for name, module in block.named_modules() if name in BRANCHES]
    if len(branches) != 2:
        raise InputError(f"{spec} has no branches to drop. Leave backbone.drop_path out.")
    for branch in branches:
        branch.register_forward_hook(_DropBranch(rate))


class _DropBranch:
    """A hook that drops what a branch gives; a class, so that a model with it can be copied."""

    def __init__(self, rate: float) -> None:
        self._drop = DropPath(rate)

    def __call__(self, branch: nn.Module, _: Any, output: Any) -> Any:
        self._drop.train(branch.training)
        if isinstance(output, Tensor):
            return self._drop(output)
        return (self._drop(output[0]), *output[1:])  # attention gives its weights too
