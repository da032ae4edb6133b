"""The networks that pretrain_pico.py trains: a small timm ViT, and an MAE around one.

Shape letters: B images, P patches, K patches kept (visible), D width, E decoder width,
3 channels, S pixels a side.
"""

import itertools
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lacvit.backbones.torchvision_shim import ensure_torchvision

ensure_torchvision()

from timm.models.vision_transformer import Block, VisionTransformer  # noqa: E402

_layer_norm = partial(nn.LayerNorm, eps=1e-6)


@dataclass(frozen=True)
class Shape:
    """What timm's VisionTransformer is built from."""

    embed_dim: int = 192
    depth: int = 4
    num_heads: int = 3
    img_size: int = 32
    patch_size: int = 8
    stem: bool = False

    def arguments(self) -> dict[str, int]:
        """As timm names them; the stem is put in afterwards."""
        return {key: value for key, value in asdict(self).items() if key != "stem"}


class ConvolutionalStem(nn.Module):
    """Three 3 x 3 convolutions of stride 2 instead of one 8 x 8 patch projection."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        widths = (3, 24, 48, 96)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GELU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], embed_dim, 1))

    def forward(self, images_B3SS: torch.Tensor) -> torch.Tensor:
        return self.layers(images_B3SS).flatten(2).mT


def build_classifier(shape: Shape, classes: int) -> VisionTransformer:
    """Tokens averaged, no class token, a linear head: timm's own keys throughout."""
    model = VisionTransformer(
        **shape.arguments(),
        num_classes=classes,
        class_token=False,
        global_pool="avg",
    )
    if shape.stem:
        model.patch_embed = ConvolutionalStem(shape.embed_dim)
    return model


def classify(
    model: VisionTransformer,
    images_B3SS: torch.Tensor,
    keep: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """Logits from a random ``keep`` share of each image's patches (all of them at 1)."""
    if keep >= 1:
        return model(images_B3SS)
    tokens_BPD = model.patch_embed(images_B3SS) + model.pos_embed
    visible_BK, _ = _shuffle(tokens_BPD, keep, generator)
    tokens_BKD = model.norm(model.blocks(_pick(tokens_BPD, visible_BK)))
    return model.forward_head(tokens_BKD)


class MaskedAutoencoder(VisionTransformer):
    """MAE (He et al. 2022) with the attribute names, and so the keys, of the original files.

    The encoder sees the visible patches and a class token; a small decoder predicts the pixels of
    the hidden patches, each patch normalised by its own mean and deviation.
    """

    def __init__(self, shape: Shape, decoder_dim: int, decoder_depth: int, mask: float) -> None:
        super().__init__(
            **shape.arguments(),
            num_classes=0,
            class_token=True,
            global_pool="token",
            norm_layer=_layer_norm,
        )
        self.mask = mask
        self.patch = shape.patch_size
        grid = shape.img_size // shape.patch_size
        self.pos_embed = nn.Parameter(sine_cosine(shape.embed_dim, grid), requires_grad=False)
        self.decoder_pos_embed = nn.Parameter(sine_cosine(decoder_dim, grid), requires_grad=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_dim))
        self.decoder_embed = nn.Linear(shape.embed_dim, decoder_dim)
        self.decoder_blocks = nn.ModuleList(
            Block(decoder_dim, decoder_dim // 32, qkv_bias=True, norm_layer=_layer_norm)
            for _ in range(decoder_depth)
        )
        self.decoder_norm = _layer_norm(decoder_dim)
        self.decoder_pred = nn.Linear(decoder_dim, 3 * shape.patch_size**2)
        nn.init.normal_(self.cls_token, std=0.02)
        nn.init.normal_(self.mask_token, std=0.02)
        self.apply(_xavier)
        nn.init.xavier_uniform_(self.patch_embed.proj.weight.data.flatten(1))

    def loss(self, images_B3SS: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Mean squared error over the hidden patches."""
        tokens_BPD = self.patch_embed(images_B3SS) + self.pos_embed[:, 1:]
        visible_BK, restore_BP = _shuffle(tokens_BPD, 1 - self.mask, generator)
        class_B1D = (self.cls_token + self.pos_embed[:, :1]).expand(len(tokens_BPD), -1, -1)
        encoded = torch.cat([class_B1D, _pick(tokens_BPD, visible_BK)], dim=1)
        predicted_BPX = self._decode(self.norm(self.blocks(encoded)), restore_BP)
        target_BPX = self._normalised_patches(images_B3SS)
        hidden_BP = restore_BP >= visible_BK.shape[1]
        return (predicted_BPX - target_BPX).square().mean(-1)[hidden_BP].mean()

    def _decode(self, encoded: torch.Tensor, restore_BP: torch.Tensor) -> torch.Tensor:
        tokens = self.decoder_embed(encoded)
        hidden = restore_BP.shape[1] - (tokens.shape[1] - 1)
        masked = self.mask_token.expand(len(tokens), hidden, -1)
        patches = _pick(torch.cat([tokens[:, 1:], masked], dim=1), restore_BP)
        tokens = torch.cat([tokens[:, :1], patches], dim=1) + self.decoder_pos_embed
        for block in self.decoder_blocks:
            tokens = block(tokens)
        return self.decoder_pred(self.decoder_norm(tokens[:, 1:]))

    def _normalised_patches(self, images_B3SS: torch.Tensor) -> torch.Tensor:
        patches = functional.unfold(images_B3SS, self.patch, stride=self.patch).mT
        # unfold orders a patch (channel, row, column); the original orders (row, column, channel).
        patches = patches.unflatten(-1, (3, -1)).mT.flatten(-2)
        variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
        return (patches - mean) / (variance + 1e-6).sqrt()


def sine_cosine(width: int, grid: int) -> torch.Tensor:
    """MAE's fixed positions (1, 1 + grid^2, width): half for the column, half for the row."""
    rates = 1 / 10000 ** (np.arange(width // 4) / (width / 4))
    angles = np.arange(grid)[:, None] * rates
    axis = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    columns = np.tile(axis, (grid, 1))
    rows = np.repeat(axis, grid, axis=0)
    table = np.concatenate([columns, rows], axis=1)
    return torch.from_numpy(np.concatenate([np.zeros((1, width)), table])).float()[None]


def _shuffle(
    tokens_BPD: torch.Tensor, keep: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the kept patches, and each patch's place in the shuffled order."""
    count, patches, _ = tokens_BPD.shape
    order_BP = torch.rand(count, patches, generator=generator).argsort(dim=1)
    return order_BP[:, : round(patches * keep)], order_BP.argsort(dim=1)


def _pick(tokens_BPD: torch.Tensor, index_BK: torch.Tensor) -> torch.Tensor:
    return tokens_BPD.gather(1, index_BK[:, :, None].expand(-1, -1, tokens_BPD.shape[-1]))


def _xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
