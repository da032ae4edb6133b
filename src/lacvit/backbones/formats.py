"""The formats of original checkpoints: literal tables of names, and how to tell them apart.

In a table, ``#`` stands for a number of a block or layer. A name without ``#`` that becomes one
with it goes to every block.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from timm.data import constants
from torch import Tensor

from lacvit.backbones import positions
from lacvit.backbones.backbone import Pool
from lacvit.backbones.checkpoint_files import CheckpointFile
from lacvit.input_spec import RGB

IMAGENET: tuple[RGB, RGB] = (constants.IMAGENET_DEFAULT_MEAN, constants.IMAGENET_DEFAULT_STD)
HALF: tuple[RGB, RGB] = (constants.IMAGENET_INCEPTION_MEAN, constants.IMAGENET_INCEPTION_STD)
SHARED = "rel_pos_bias.relative_position_bias_table"
TABLE = "blocks.#.attn.relative_position_bias_table"
FIRST_TABLE = TABLE.replace("#", "0")


@dataclass(frozen=True)
class Format:
    """How one family's files become the tensors of timm's network of the same function."""

    names: Mapping[str, str]  # in the file -> in timm
    left_over: frozenset[str]  # of the file, not of the encoder
    normalisation: tuple[RGB, RGB]
    pool: Pool  # the authors' own
    heads: Mapping[int, int]  # embedding width -> attention heads, as released
    resize: positions.ResizeMap = positions.bicubic
    network: Literal["vit", "beit"] = "vit"
    prefixes: tuple[str, ...] = ()  # of the encoder's names
    needs: tuple[str, ...] = ()  # what sets its files apart from those of others
    fresh_norm: bool = False  # fine-tuning starts with a new norm of the pooled feature
    crop_fraction: float = 224 / 256  # of the authors' evaluation, below 384 pixels


@dataclass(frozen=True)
class Sign:
    """Keys that only one format has, in some of its files."""

    format: str
    has: tuple[str, ...]
    lacks: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()  # other top-level keys of the file
    told: tuple[str, ...] = ()  # arguments that only this format's training program has
    nested: bool = False  # the tensors stand under some key, not at the top
    square: bool = False  # the last of `has` is a square matrix
    sure: bool = True  # no file of another format has it, so that asking for one is a mistake

    def __str__(self) -> str:
        keys = [name.replace("#", "0") for name in self.has]
        return " and ".join([*keys, *self.beside, *(f"args.{name}" for name in self.told)])


def _same(names: str) -> dict[str, str]:
    return {name: name for name in names.split()}


_BLOCK = """
    norm1.weight norm1.bias attn.qkv.weight attn.proj.weight attn.proj.bias
    norm2.weight norm2.bias mlp.fc1.weight mlp.fc1.bias mlp.fc2.weight mlp.fc2.bias
"""
_TRUNK = _same("cls_token patch_embed.proj.weight patch_embed.proj.bias norm.weight norm.bias")
_TRUNK |= {f"blocks.#.{name}": f"blocks.#.{name}" for name in _BLOCK.split()}
_VIT = _TRUNK | _same("pos_embed blocks.#.attn.qkv.bias")
_FC_NORM = _same("fc_norm.weight fc_norm.bias")
_BEIT = _TRUNK | _FC_NORM
_BEIT |= _same("blocks.#.attn.q_bias blocks.#.attn.v_bias blocks.#.gamma_1 blocks.#.gamma_2")

_HEAD = frozenset({"head.weight", "head.bias"})
_INDEX = frozenset(  # which distance each pair of patches has: computed, not learned
    {"rel_pos_bias.relative_position_index", "blocks.#.attn.relative_position_index"}
)
_MAE_DECODER = frozenset(
    _same("""
        mask_token decoder_pos_embed decoder_embed.weight decoder_embed.bias
        decoder_norm.weight decoder_norm.bias decoder_pred.weight decoder_pred.bias
    """)
) | {f"decoder_blocks.#.{name}" for name in [*_BLOCK.split(), "attn.qkv.bias"]}
_DINO_HEAD = frozenset(
    _same("""
        head.mlp.#.weight head.mlp.#.bias head.last_layer.weight_g head.last_layer.weight_v
        head.mlp.#.running_mean head.mlp.#.running_var head.mlp.#.num_batches_tracked
    """)
)
_JAX_BLOCK = "Transformer/encoderblock_#"
_JAX_NAMES = {
    "cls": "cls_token",
    "embedding/kernel": "patch_embed.proj.weight",
    "embedding/bias": "patch_embed.proj.bias",
    "Transformer/posembed_input/pos_embedding": "pos_embed",
    "Transformer/encoder_norm/scale": "norm.weight",
    "Transformer/encoder_norm/bias": "norm.bias",
    f"{_JAX_BLOCK}/LayerNorm_0/scale": "blocks.#.norm1.weight",
    f"{_JAX_BLOCK}/LayerNorm_0/bias": "blocks.#.norm1.bias",
    f"{_JAX_BLOCK}/MultiHeadDotProductAttention_1/qkv/kernel": "blocks.#.attn.qkv.weight",
    f"{_JAX_BLOCK}/MultiHeadDotProductAttention_1/qkv/bias": "blocks.#.attn.qkv.bias",
    f"{_JAX_BLOCK}/MultiHeadDotProductAttention_1/out/kernel": "blocks.#.attn.proj.weight",
    f"{_JAX_BLOCK}/MultiHeadDotProductAttention_1/out/bias": "blocks.#.attn.proj.bias",
    f"{_JAX_BLOCK}/LayerNorm_2/scale": "blocks.#.norm2.weight",
    f"{_JAX_BLOCK}/LayerNorm_2/bias": "blocks.#.norm2.bias",
    f"{_JAX_BLOCK}/MlpBlock_3/Dense_0/kernel": "blocks.#.mlp.fc1.weight",
    f"{_JAX_BLOCK}/MlpBlock_3/Dense_0/bias": "blocks.#.mlp.fc1.bias",
    f"{_JAX_BLOCK}/MlpBlock_3/Dense_1/kernel": "blocks.#.mlp.fc2.weight",
    f"{_JAX_BLOCK}/MlpBlock_3/Dense_1/bias": "blocks.#.mlp.fc2.bias",
}

# Every LayerNorm of these has epsilon 1e-6, as timm's have.
FORMATS: dict[str, Format] = {
    # He et al. 2022 (2111.06377). Linear probes of theirs read the class token instead.
    "mae": Format(
        names=_VIT | _FC_NORM,
        left_over=_MAE_DECODER | _HEAD,
        normalisation=IMAGENET,
        pool="mean",
        heads={768: 12, 1024: 16, 1280: 16},
        fresh_norm=True,
    ),
    # Xie et al. 2022 (2111.09886). Fine-tuning gives each block its own copy of the shared table.
    "simmim": Format(
        names=_BEIT | {TABLE: TABLE, SHARED: TABLE},
        left_over=_INDEX | _HEAD | {"mask_token", "decoder.#.weight", "decoder.#.bias"},
        normalisation=IMAGENET,
        pool="mean",
        heads={768: 12, 1024: 16},
        network="beit",
        prefixes=("encoder.",),
        fresh_norm=True,
    ),
    # Baevski et al. 2022 (2202.03555). The shared table stays shared.
    "data2vec": Format(
        names=_BEIT | {SHARED: SHARED},
        left_over=_INDEX | _HEAD | {"mask_token", "lm_head.weight", "lm_head.bias"},
        normalisation=IMAGENET,
        pool="mean",
        heads={768: 12, 1024: 16},
        network="beit",
        fresh_norm=True,
    ),
    # Bao et al. 2022 (2106.08254).
    "beit": Format(
        names=_BEIT | {TABLE: TABLE, SHARED: TABLE},
        left_over=_INDEX | _HEAD | {"mask_token", "lm_head.weight", "lm_head.bias"},
        normalisation=HALF,
        pool="mean",
        heads={768: 12, 1024: 16},
        network="beit",
        fresh_norm=True,
    ),
    # Caron et al. 2021 (2104.14294).
    "dino": Format(
        names=_VIT,
        left_over=_DINO_HEAD,
        normalisation=IMAGENET,
        pool="cls",
        heads={384: 6, 768: 12},
        resize=positions.bicubic_by_factor,
        prefixes=("backbone.",),
    ),
    # Oquab et al. 2023 (2304.07193); registers: Darcet et al. 2023 (2309.16588).
    "dinov2": Format(
        names=_VIT
        | _same("blocks.#.ls1.gamma blocks.#.ls2.gamma")
        | {
            "register_tokens": "reg_token",
            "blocks.#.mlp.w12.weight": "blocks.#.mlp.fc1.weight",
            "blocks.#.mlp.w12.bias": "blocks.#.mlp.fc1.bias",
            "blocks.#.mlp.w3.weight": "blocks.#.mlp.fc2.weight",
            "blocks.#.mlp.w3.bias": "blocks.#.mlp.fc2.bias",
        },
        left_over=frozenset({"mask_token"}),
        normalisation=IMAGENET,
        pool="cls",
        heads={384: 6, 768: 12, 1024: 16, 1536: 24},
        needs=("blocks.#.ls1.gamma",),
        resize=positions.bicubic_by_factor,
    ),
    # Touvron et al. 2021 (2012.12877), and the third DeiT (2204.07118).
    "deit": Format(
        names=_VIT
        | _same("dist_token")
        | {"blocks.#.gamma_1": "blocks.#.ls1.gamma", "blocks.#.gamma_2": "blocks.#.ls2.gamma"},
        left_over=_HEAD | {"head_dist.weight", "head_dist.bias"},
        normalisation=IMAGENET,
        pool="cls",
        heads={192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16},
    ),
    # Dosovitskiy et al. 2021 (2010.11929), Steiner et al. 2021 (2106.10270), as timm reads them.
    "npz": Format(
        names=_JAX_NAMES,
        left_over=frozenset({"head/kernel", "head/bias", "pre_logits/kernel", "pre_logits/bias"}),
        normalisation=HALF,
        pool="cls",
        heads={},
        resize=positions.bilinear,
        crop_fraction=0.9,
    ),
}

# In this order; the first whose keys are all there decides.
SIGNS = (
    Sign("npz", has=("Transformer/encoder_norm/scale", "embedding/kernel")),
    Sign("simmim", has=("encoder.mask_token", "decoder.#.weight")),
    Sign("simmim", has=(TABLE,), lacks=(SHARED,), beside=("config",)),
    Sign("data2vec", has=(SHARED, "lm_head.weight"), square=True),
    Sign("data2vec", has=(SHARED, "fc_norm.weight")),
    Sign("data2vec", has=(SHARED, "head.weight")),
    Sign("beit", has=(SHARED, "lm_head.weight")),
    Sign("beit", has=(TABLE,), lacks=(SHARED,), told=("imagenet_default_mean_and_std",)),
    # SimMIM's without the `config`, as some keep it, look the same.
    Sign("beit", has=(TABLE, "blocks.#.attn.q_bias"), lacks=(SHARED,), nested=True, sure=False),
    Sign("mae", has=("decoder_embed.weight", "pos_embed")),
    Sign("mae", has=("fc_norm.weight", "pos_embed", "blocks.#.attn.qkv.bias")),
    Sign("mae", has=("pos_embed", "blocks.#.attn.qkv.bias"), told=("global_pool",)),
    Sign("dinov2", has=("blocks.#.ls1.gamma", "mask_token")),
    Sign("dino", has=("backbone.cls_token", "backbone.pos_embed")),
    Sign("deit", has=("dist_token",)),
    Sign("deit", has=("blocks.#.gamma_1", "pos_embed")),
)

# What is often mistaken for one of these -> what to do with it.
ELSEWHERE = {
    "layers.#.blocks.#.norm1.weight": "a Swin transformer: use timm:swin_base_patch4_window7_224",
    "encoder.layers.#.blocks.#.norm1.weight": "SimMIM's Swin transformer, which is not read here",
    "embeddings.cls_token": "a model of transformers: use hf: with its folder",
    "vit.embeddings.cls_token": "a model of transformers: use hf: with its folder",
    "beit.embeddings.cls_token": "a model of transformers: use hf: with its folder",
    "visual.conv1.weight": "a CLIP model: use timm:vit_base_patch16_clip_224.openai or hf:",
    "layer1.#.conv1.weight": "a residual network, not a vision transformer",
}


def template(name: str) -> str:
    """A key with ``#`` for the number of its block or layer."""
    return re.sub(r"(?<=\.)\d+(?=\.)|(?<=encoderblock_)\d+", "#", name)


def find_sign(file: CheckpointFile) -> Sign | None:
    """The sign by which a file's format is known, if there is one."""
    shapes = {template(key): tensor.shape for key, tensor in file.tensors.items()}
    for sign in SIGNS:
        if not all(name in shapes for name in sign.has) or any(n in shapes for n in sign.lacks):
            continue
        shape = shapes[sign.has[-1]]
        if (
            all(key in file.beside for key in sign.beside)
            and all(name in file.arguments for name in sign.told)
            and (file.under or not sign.nested)
            and (not sign.square or len(set(shape)) == 1)
        ):
            return sign
    return None


def find_elsewhere(names: Iterable[str]) -> str | None:
    """What a file is that none of the formats fits, where it is a common one."""
    templates = {template(name) for name in names}
    return next((text for key, text in ELSEWHERE.items() if key in templates), None)


@dataclass(frozen=True)
class Renamed:
    """A file's tensors under timm's names, and the keys that became none of them."""

    weights: Mapping[str, Tensor]
    left_over: tuple[str, ...]
    strangers: Mapping[str, Tensor]


def rename(tensors: Mapping[str, Tensor], format_: Format) -> Renamed:
    """Each tensor to its place, as the format's table says; a shared table to every block."""
    weights: dict[str, Tensor] = {}
    left_over: list[str] = []
    strangers: dict[str, Tensor] = {}
    found = {key: _bare(key, format_.prefixes) for key in tensors}
    blocks = {number for key in found.values() if (number := _block(key)) is not None}
    for key, bare in found.items():
        place = format_.names.get(template(bare))
        if place is None:
            if template(bare) in format_.left_over:
                left_over.append(key)
            else:
                strangers[key] = tensors[key]
            continue
        own = _block(bare)
        numbers = [own] if own is not None or "#" not in place else sorted(blocks)
        places = [place.replace("#", str(number)) for number in numbers]
        if weights.keys() & places:  # a second tensor for the same place
            strangers[key] = tensors[key]
        else:
            weights |= dict.fromkeys(places, tensors[key])
    return Renamed(weights, tuple(left_over), strangers)


def _bare(key: str, prefixes: tuple[str, ...]) -> str:
    for prefix in prefixes:
        key = key.removeprefix(prefix)
    return key


def _block(name: str) -> int | None:
    number = re.match(r"(?:blocks\.|Transformer/encoderblock_)(\d+)", name)
    return int(number[1]) if number else None
