"""What differs between the families of vision transformers in transformers: literal tables.

Shape letters: B images, T tokens, D feature dimensions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN as MEAN
from timm.data.constants import IMAGENET_DEFAULT_STD as STD
from timm.data.constants import IMAGENET_INCEPTION_MEAN, OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from torch import Tensor, nn

from lacvit.backbones.backbone import Pool
from lacvit.errors import InputError, first_line
from lacvit.input_spec import RGB, Fit, Interpolation

HALF = IMAGENET_INCEPTION_MEAN  # and as much of a deviation


@dataclass(frozen=True)
class Preparation:
    """How a family's images are prepared where a model brings no ``preprocessor_config.json``."""

    mean: RGB
    std: RGB
    interpolation: Interpolation = "bicubic"
    fit: Fit = "squash"
    crop_fraction: float = 1.0


@dataclass(frozen=True)
class Family:
    """Where one family keeps its parts, and how its authors pool."""

    pool: Pool
    preparation: Preparation
    blocks: str = "layers"  # path of the list of blocks, or of stages that have `blocks`
    final: tuple[str, ...] = ("layernorm",)  # what follows the last block
    special: int = 1  # class and distillation tokens, which come first; registers follow them
    norm: str | None = None  # applied to the pooled feature, where the model leaves it to its head
    resizes: bool = True  # whether another size must be asked for with interpolate_pos_encoding
    pooler: bool | None = None  # add_pooling_layer, where the model has the choice
    fresh: str = ""  # pattern of weights that the authors start as the identity


SQUASHED = Preparation(HALF, HALF, "bilinear")
CROPPED = Preparation(MEAN, STD, fit="crop", crop_fraction=224 / 256)
WHOLE = Preparation(MEAN, STD)
CLIP = Preparation(OPENAI_CLIP_MEAN, OPENAI_CLIP_STD, fit="crop")

# transformers' model_type -> family. With BEiT and data2vec the mean is taken before the norm,
# which stands in the pooler; MAE's is the encoder's own. Pools: Dosovitskiy et al. 2021 (cls),
# Touvron et al. 2021 (class and distillation token averaged), Bao et al. 2022 (mean), Baevski et
# al. 2022 (mean), Oquab et al. 2023 (cls), Darcet et al. 2024 (cls), Simeoni et al. 2025 (cls),
# Radford et al. 2021 (cls), Zhai et al. 2023 (attention), Liu et al. 2022 (mean), He et al. 2022
# (mean), Assran et al. 2022 (cls) and 2023 (mean), Yang et al. 2022 and An et al. 2024 (both as
# CLIP). Fang et al. 2021 pool nothing, and leave YOLOS's class token without a loss: mean.
FAMILIES: dict[str, Family] = {
    "vit": Family("cls", SQUASHED, pooler=False),
    "deit": Family("cls", CROPPED, special=2, pooler=False),
    "beit": Family(
        "mean", Preparation(HALF, HALF), pooler=True, norm="pooler.layernorm",
        fresh=r"pooler\.layernorm\..*",
    ),
    "data2vec-vision": Family(
        "mean", WHOLE, "encoder.layer", pooler=True, norm="pooler.layernorm",
        fresh=r"pooler\.layernorm\..*",
    ),
    "dinov2": Family("cls", CROPPED, "encoder.layer", resizes=False),
    "dinov2_with_registers": Family("cls", CROPPED, "encoder.layer", resizes=False),
    "dinov3_vit": Family(
        "cls", Preparation(MEAN, STD, "bilinear"), "model.layer", ("norm",),
        resizes=False,
    ),
    "clip_vision_model": Family(
        "cls", CLIP, "encoder.layers", ("post_layernorm",), norm="post_layernorm",
    ),
    "chinese_clip_vision_model": Family(
        "cls", CLIP, "encoder.layers", ("post_layernorm",), norm="post_layernorm",
    ),
    "mlcd_vision_model": Family(
        "cls", CLIP, "encoder.layers", ("post_layernorm",), norm="post_layernorm", resizes=False,
    ),
    "siglip_vision_model": Family(
        "attention", Preparation(HALF, HALF), "encoder.layers", ("post_layernorm", "head"),
        special=0,
    ),
    "swinv2": Family("mean", WHOLE, "encoder.layers", special=0, pooler=False),
    "swin": Family("mean", WHOLE, "encoder.layers", special=0, pooler=False),
    "vit_mae": Family("mean", CROPPED),
    "vit_msn": Family("cls", CROPPED),
    "ijepa": Family("mean", WHOLE, special=0, pooler=False),
    "yolos": Family("mean", WHOLE, "encoder.layer", resizes=False, pooler=False),
}  # fmt: skip

# Models of image and text -> the family of their image tower.
TOWERS = {"clip": "clip_vision_model", "siglip": "siglip_vision_model"}

# Weights that files hold beside the encoder: heads of classification and pretraining, poolers that
# are not used, the text tower, and tokens that stand for masked patches.
LEFT_OVER = re.compile(
    r"(.*\.)?(classifier|cls_classifier|distillation_classifier|class_labels_classifier|"
    r"bbox_predictor|lm_head|head|decoder\w*|pooler)(\..*)?|text_model\..*"
    r"|(text|visual)_projection\..*|logit_(scale|bias)"
    r"|(.*\.)?(mask_token|position_ids|relative_position_index)|layernorm\.(weight|bias)"
)

BLANKS = 2  # images of a trial: Pixtral, for one, gives the tokens of several as of one image


def family_of(model_type: str, network: nn.Module, config: Any) -> Family:
    """The row of a model's type, or what its own modules tell.

    Raises:
        InputError: the model has no patch tokens, no list of blocks, or takes no images.
    """
    return FAMILIES.get(model_type) or _discover(model_type, network, config)


def side_of(size: int | Sequence[int]) -> int:
    """The height of what a configuration gives as one number or as height and width."""
    return size if isinstance(size, int) else size[0]


def check_takes(encoder: nn.Module, size: int, native: int, spec: str) -> None:
    """Try blank images of a size that is not the model's own.

    Raises:
        InputError: the model cannot take it; the size that it can take is named.
    """
    try:
        with torch.no_grad():
            encoder.eval()(torch.zeros(BLANKS, 3, size, size))
    except Exception as error:  # of the model's own checks, which share no base
        raise InputError(
            f"{spec} cannot take images of {size} pixels ({first_line(error)}). Its own size is "
            f"{native}: use --image-size {native}."
        ) from error


def _discover(model_type: str, network: nn.Module, config: Any) -> Family:
    """The blocks: the first list as long as the model is deep. Tokens: those of blank images."""
    depth = getattr(config, "num_hidden_layers", None)
    lists = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth
    ]
    sides = [getattr(config, key, None) for key in ("image_size", "patch_size")]
    choice = f"Choose one of {', '.join(FAMILIES)}."
    if not lists or not all(isinstance(side, int | list | tuple) for side in sides):
        raise InputError(
            f"Models of the type {model_type!r} have no list of blocks or no patches that lacvit "
            f"knows. {choice}"
        )
    size, patch = side_of(config.image_size), side_of(config.patch_size)
    try:
        tokens = _tokens_of_blank(network, size)
    except Exception as error:  # of the model's own checks, which share no base
        raise InputError(
            f"Models of the type {model_type!r} are no image encoders with patch tokens that "
            f"lacvit can use: they do not take a blank image of {size} pixels "
            f"({first_line(error)}). {choice}"
        ) from error
    single = tokens.ndim == 3 and len(tokens) == BLANKS
    extra = tokens.shape[1] - (size // patch) ** 2 if single else -1
    registers = getattr(config, "num_register_tokens", 0)
    if extra - registers not in (0, 1, 2):
        raise InputError(
            f"Models of the type {model_type!r} give {tuple(tokens.shape)} for {BLANKS} blank "
            f"images of {size} pixels, which is not a token for each patch of {patch}. {choice}"
        )
    following = [name for name, _ in network.named_children()]
    top = lists[0].partition(".")[0]
    averaged = extra == registers or getattr(config, "use_mean_pooling", False)
    return Family(
        pool="mean" if averaged else "cls",
        preparation=WHOLE,
        blocks=lists[0],
        final=tuple(following[following.index(top) + 1 :]),
        special=extra - registers,
        resizes=False,
    )


def _tokens_of_blank(network: nn.Module, size: int) -> Tensor:
    """The tokens (B, T, D) of blank images."""
    with torch.no_grad():
        output: Any = network.eval()(pixel_values=torch.zeros(BLANKS, 3, size, size))
    tokens: Tensor = output.last_hidden_state
    return tokens
