"""The networks of pico-simmim and pico-data2vec: BEiT's encoder and two ways to pretrain it.

Both hide patches behind a learned token and let the encoder see all places. SimMIM predicts the
hidden pixels, data2vec what a slowly following copy of the encoder makes of the whole image.

Shape letters: B images, P patches, D width, H hidden patches in the batch, X numbers in a patch,
S pixels a side.
"""

import copy

import torch
from pico_models import Shape
from timm.models.beit import Beit
from torch import Tensor, nn
from torch.nn import functional

# Share of the steps of the teacher's moving average that it keeps, first and last: the paper's
# 0.998 to 0.9999 is made for hundreds of thousands of steps, these for one or two thousand.
FOLLOW = (0.99, 0.999)
SMOOTH = 2.0  # where data2vec's loss turns from square to linear


class MaskedBeit(nn.Module):
    """BEiT's encoder with relative positions alone, in one table for all blocks."""

    def __init__(self, shape: Shape, mask: float) -> None:
        super().__init__()
        self.mask = mask
        self.patch = shape.patch_size
        self.encoder = Beit(
            **shape.arguments(),
            num_classes=0,
            use_abs_pos_emb=False,
            use_shared_rel_pos_bias=True,
            use_fc_norm=False,
            init_values=0.1,
        )
        self.encoder.mask_token = nn.Parameter(torch.zeros(1, 1, shape.embed_dim))
        nn.init.trunc_normal_(self.encoder.mask_token, std=0.02)

    def hide(self, images_B3SS: Tensor, generator: torch.Generator) -> Tensor:
        """Which patches of each image are hidden, bool (B, P): the same number in every image."""
        patches = (images_B3SS.shape[-1] // self.patch) ** 2
        rank_BP = torch.rand(len(images_B3SS), patches, generator=generator).argsort(1).argsort(1)
        return rank_BP < round(patches * self.mask)

    def encode(self, images_B3SS: Tensor, hidden_BP: Tensor) -> Tensor:
        """Normed tokens of every patch (B, P, D), the hidden ones seen as the mask token."""
        encoder = self.encoder
        tokens_BPD = torch.where(
            hidden_BP[:, :, None], encoder.mask_token, encoder.patch_embed(images_B3SS)
        )
        states = through_blocks(encoder, tokens_BPD)
        return encoder.norm(states[-1])[:, 1:]


def through_blocks(encoder: Beit, tokens_BPD: Tensor) -> list[Tensor]:
    """What comes out of every block (B, 1 + P, D), the class token first."""
    state = torch.cat([encoder.cls_token.expand(len(tokens_BPD), -1, -1), tokens_BPD], dim=1)
    bias = encoder.rel_pos_bias()
    states = []
    for block in encoder.blocks:
        state = block(state, shared_rel_pos_bias=bias)
        states.append(state)
    return states


class SimMim(MaskedBeit):
    """SimMIM (Xie et al. 2022, arXiv 2111.09886): the hidden pixels by one linear layer, L1."""

    def __init__(self, shape: Shape, mask: float) -> None:
        super().__init__(shape, mask)
        self.decoder = nn.Sequential(nn.Conv2d(shape.embed_dim, 3 * shape.patch_size**2, 1))

    def loss(self, images_B3SS: Tensor, generator: torch.Generator) -> Tensor:
        """Mean absolute error over the pixels of the hidden patches."""
        hidden_BP = self.hide(images_B3SS, generator)
        tokens_BPD = self.encode(images_B3SS, hidden_BP)
        side = images_B3SS.shape[-1] // self.patch
        predicted = self.decoder(tokens_BPD.mT.unflatten(-1, (side, side))).flatten(2).mT
        # PixelShuffle's order, the original decoder's, is unfold's: channel, row, column.
        target_BPX = functional.unfold(images_B3SS, self.patch, stride=self.patch).mT
        return (predicted - target_BPX).abs().mean(-1)[hidden_BP].mean()


class Data2Vec(MaskedBeit):
    """data2vec (Baevski et al. 2022, arXiv 2202.03555) for images.

    The target of a hidden patch is the mean of the upper half of the teacher's blocks there,
    normalised over the features; the teacher sees the whole image and follows the student.
    """

    def __init__(self, shape: Shape, mask: float) -> None:
        super().__init__(shape, mask)
        self.lm_head = nn.Linear(shape.embed_dim, shape.embed_dim)
        self.teacher = copy.deepcopy(self.encoder).requires_grad_(False)

    def loss(self, images_B3SS: Tensor, generator: torch.Generator) -> Tensor:
        """Smooth L1 between the student's prediction and the teacher's states."""
        hidden_BP = self.hide(images_B3SS, generator)
        with torch.no_grad():
            states = through_blocks(self.teacher, self.teacher.patch_embed(images_B3SS))
            upper = torch.stack(states[len(states) // 2 :]).mean(0)[:, 1:][hidden_BP]
            target_HD = functional.layer_norm(upper, upper.shape[-1:])
        predicted_HD = self.lm_head(self.encode(images_B3SS, hidden_BP)[hidden_BP])
        return functional.smooth_l1_loss(predicted_HD, target_HD, beta=SMOOTH)

    @torch.no_grad()
    def follow(self, done: float) -> None:
        """The teacher a step towards the student; ``done`` is the share of the run behind it."""
        first, last = FOLLOW
        keep = first + (last - first) * done
        for kept, new in zip(self.teacher.parameters(), self.encoder.parameters(), strict=True):
            kept.lerp_(new, 1 - keep)
