"""The one type of backbone: normalised images in, pooled features out.

Shape letters: B images, D feature dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from lacvit.errors import InputError
from lacvit.input_spec import InputSpec

# How tokens become one feature: the class token (with a distillation token: their mean), the mean
# of the patch tokens without class and register tokens, or the model's own attention pool.
Pool = Literal["cls", "mean", "attention"]


class Origin(BaseModel):
    """Where a backbone's weights came from; stored with every model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: str = Field(description="as the user named it")
    format: str = Field(description="how the weights were stored")
    evidence: str | None = Field(None, description="what in the file decided its format")
    sha256: str | None = Field(None, description="of the file of weights, where there is one")


def refuse_rest(what: str, patch: int, size: int) -> None:
    """Refuses a size that patches do not fill.

    Raises:
        InputError: with the nearest size that they do.
    """
    if size % patch:
        raise InputError(
            f"{what} cuts images into patches of {patch} pixels, of which {size} is no multiple. "
            f"Use --image-size {max(1, round(size / patch)) * patch}."
        )


class Architecture(BaseModel):
    """What it takes to build the same network again, without weights and without network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(description="which builder of lacvit.backbones")
    name: str = Field(description="the builder's name of the model")
    arguments: dict[str, Any] = Field(description="what the builder is given")


class Backbone(nn.Module):
    """A pretrained encoder behind one interface, whatever library it came from.

    Attributes:
        encoder: maps images (B, 3, S, S), float32 and normalised, to pooled features (B, D),
            pooled as that model's authors pool.
        dim: D.
        input_spec: how images must be prepared.
        architecture: builds the same network again.
        origin: where the weights came from.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        dim: int,
        input_spec: InputSpec,
        architecture: Architecture,
        origin: Origin,
        blocks: Sequence[nn.Module],
        final: Iterable[nn.Module],
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.dim = dim
        self.input_spec = input_spec
        self.architecture = architecture
        self.origin = origin
        # Tuples, so that torch does not register the same modules a second time.
        self._blocks = tuple(blocks)
        self._final = tuple(final)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Pooled features (B, D) of normalised float images (B, 3, H, W)."""
        features_BD: Tensor = self.encoder(images_B3HW)
        return features_BD

    def blocks(self) -> tuple[nn.Module, ...]:
        """The transformer blocks in depth order, for layer decay and partial freezing."""
        return self._blocks

    def final(self) -> tuple[nn.Module, ...]:
        """What follows the last block: the norms and, where the model has one, attention pool."""
        return self._final

    def checkpoint_gradients(self) -> None:
        """Keep only the blocks' inputs for the backward pass: less memory, a third more time."""
        self.encoder.set_grad_checkpointing(True)  # type: ignore[operator]
