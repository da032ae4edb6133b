"""Files of weights in the layouts in which their authors release them, made small from a seed.

Every parameter is random: norms, layer scales, tables, tokens. What enters the residual stream
is small, so that the epsilon of the norms shows in the features.
"""

import argparse
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

WIDTH, DEPTH, PATCH, GRID, HEADS = 24, 2, 4, 4, 3
HIDDEN = 4 * WIDTH
SIZE = GRID * PATCH
SMALL = 0.003  # what the tokens are made of: a variance near 1e-5
Tensors = dict[str, Tensor]


class Draw:
    """Normal tensors from a seed."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int, scale: float = 0.5) -> Tensor:
        return scale * torch.randn(*shape, generator=self._generator)


def trunk(draw: Draw, *, hidden: int = HIDDEN) -> Tensors:
    """What all of them have, but for the parts of attention's bias and of the positions."""
    tensors = {
        "cls_token": draw(1, 1, WIDTH, scale=SMALL),
        "patch_embed.proj.weight": draw(WIDTH, 3, PATCH, PATCH, scale=SMALL / 5),
        "patch_embed.proj.bias": draw(WIDTH, scale=SMALL),
    }
    for i in range(DEPTH):
        tensors |= {
            f"blocks.{i}.norm1.weight": draw(WIDTH),
            f"blocks.{i}.norm1.bias": draw(WIDTH),
            f"blocks.{i}.attn.qkv.weight": draw(3 * WIDTH, WIDTH),
            f"blocks.{i}.attn.proj.weight": draw(WIDTH, WIDTH, scale=SMALL),
            f"blocks.{i}.attn.proj.bias": draw(WIDTH, scale=SMALL),
            f"blocks.{i}.norm2.weight": draw(WIDTH),
            f"blocks.{i}.norm2.bias": draw(WIDTH),
            f"blocks.{i}.mlp.fc1.weight": draw(hidden, WIDTH),
            f"blocks.{i}.mlp.fc1.bias": draw(hidden),
            f"blocks.{i}.mlp.fc2.weight": draw(WIDTH, hidden, scale=SMALL),
            f"blocks.{i}.mlp.fc2.bias": draw(WIDTH, scale=SMALL),
        }
    return tensors


def vit(draw: Draw, *, positions: int = GRID**2 + 1) -> Tensors:
    """A plain vision transformer with absolute positions, without its last norm."""
    tensors = trunk(draw) | {"pos_embed": draw(1, positions, WIDTH, scale=SMALL)}
    return tensors | {f"blocks.{i}.attn.qkv.bias": draw(3 * WIDTH) for i in range(DEPTH)}


def beit(draw: Draw) -> Tensors:
    """BEiT's encoder without its table and its last norm."""
    tensors = trunk(draw)
    for i in range(DEPTH):
        tensors |= {f"blocks.{i}.attn.{name}_bias": draw(WIDTH) for name in "qv"}
        tensors |= {f"blocks.{i}.gamma_{n}": draw(WIDTH, scale=1) for n in (1, 2)}
    return tensors


def norm(draw: Draw, name: str) -> Tensors:
    """A norm's two parameters."""
    return {f"{name}.weight": draw(WIDTH), f"{name}.bias": draw(WIDTH)}


def table(draw: Draw) -> Tensor:
    """A table of relative position biases, large enough to matter."""
    return draw((2 * GRID - 1) ** 2 + 3, HEADS, scale=2)


def tables(draw: Draw) -> Tensors:
    """A table a block, with the index beside it."""
    index = torch.zeros(GRID**2 + 1, GRID**2 + 1, dtype=torch.long)
    found: Tensors = {}
    for i in range(DEPTH):
        found[f"blocks.{i}.attn.relative_position_bias_table"] = table(draw)
        found[f"blocks.{i}.attn.relative_position_index"] = index
    return found


def shared_table(draw: Draw) -> Tensors:
    """One table for all blocks, with the index beside it."""
    index = torch.zeros(GRID**2 + 1, GRID**2 + 1, dtype=torch.long)
    return {
        "rel_pos_bias.relative_position_bias_table": table(draw),
        "rel_pos_bias.relative_position_index": index,
    }


def linear(draw: Draw, name: str, outputs: int) -> Tensors:
    """A layer that no feature depends on."""
    return {f"{name}.weight": draw(outputs, WIDTH), f"{name}.bias": draw(outputs)}


@contextmanager
def foreign_class(module: str, name: str) -> Iterator[type[dict[str, Any]]]:
    """A dictionary class of a package that is not installed, while a file is written."""
    made: type[dict[str, Any]] = type(name, (dict,), {"__module__": module})
    parts = module.split(".")
    names = [".".join(parts[: i + 1]) for i in range(len(parts))]
    for part in names:
        sys.modules[part] = types.ModuleType(part)
    setattr(sys.modules[module], name, made)
    try:
        yield made
    finally:
        for part in names:
            del sys.modules[part]


def training_file(model: Tensors, **more: object) -> dict[str, object]:
    """What a training program saves beside its weights, NumPy's scalars included."""
    return {
        "model": model,
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4}]},
        "epoch": 799,
        "scaler": {"scale": np.float64(65536.0), "tracker": np.int64(3)},
        **more,
    }


def mae_pretrained(path: Path, draw: Draw) -> Tensors:
    model = vit(draw) | norm(draw, "norm") | linear(draw, "decoder_embed", 8)
    model |= {"mask_token": draw(1, 1, 8), "decoder_pos_embed": draw(1, GRID**2 + 1, 8)}
    model |= {"decoder_blocks.0.attn.qkv.bias": draw(24), "decoder_norm.weight": draw(8)}
    model |= {"decoder_pred.weight": draw(48, 8), "decoder_pred.bias": draw(48)}
    arguments = argparse.Namespace(model="mae_vit_tiny", lr=None, distributed=True)
    torch.save(training_file(model, args=arguments), path)
    return model


def mae_tuned(path: Path, draw: Draw) -> Tensors:
    model = vit(draw) | norm(draw, "fc_norm") | linear(draw, "head", 7)
    torch.save(training_file(model, args=argparse.Namespace(global_pool=True)), path)
    return model


def mae_tuned_on_token(path: Path, draw: Draw) -> Tensors:
    model = vit(draw) | norm(draw, "norm") | linear(draw, "head", 7)
    torch.save(training_file(model), path)
    return model


def _simmim_file(path: Path, model: Tensors) -> None:
    with foreign_class("yacs.config", "CfgNode") as node:
        config = node(MODEL=node(TYPE="vit"), DATA=node(IMG_SIZE=SIZE))
        config.__dict__["__immutable__"] = True
        torch.save(training_file(model, config=config, max_accuracy=0.0), path)


def simmim_pretrained(path: Path, draw: Draw) -> Tensors:
    encoder = beit(draw) | shared_table(draw) | norm(draw, "norm")
    encoder["mask_token"] = draw(1, 1, WIDTH)
    model = {f"encoder.{key}": tensor for key, tensor in encoder.items()}
    model |= {"decoder.0.weight": draw(48, WIDTH, 1, 1), "decoder.0.bias": draw(48)}
    _simmim_file(path, model)
    return encoder


def simmim_tuned(path: Path, draw: Draw) -> Tensors:
    model = beit(draw) | tables(draw) | norm(draw, "fc_norm") | linear(draw, "head", 7)
    _simmim_file(path, model)
    return model


def data2vec_pretrained(path: Path, draw: Draw) -> Tensors:
    def network() -> Tensors:
        parts = beit(draw) | shared_table(draw) | norm(draw, "norm")
        return parts | linear(draw, "lm_head", WIDTH) | {"mask_token": draw(1, 1, WIDTH)}

    student, teacher = network(), network()
    arguments = argparse.Namespace(imagenet_default_mean_and_std=True)
    torch.save(training_file(student, args=arguments, model_ema=teacher), path)
    return student


def data2vec_tuned(path: Path, draw: Draw) -> Tensors:
    model = beit(draw) | shared_table(draw) | norm(draw, "fc_norm") | linear(draw, "head", 7)
    half = {key: t.half() if t.is_floating_point() else t for key, t in model.items()}
    state = {"module": half, "optimizer": None, "csr_tensor_module_names": set()}
    torch.save(state | {"global_steps": 12, "ds_version": "0.4.0"}, path)
    return {key: tensor.float() for key, tensor in half.items()}


def beit_pretrained(path: Path, draw: Draw) -> Tensors:
    model = beit(draw) | shared_table(draw) | norm(draw, "norm") | linear(draw, "lm_head", 32)
    model["mask_token"] = draw(1, 1, WIDTH)
    torch.save({"model": model}, path)
    return model


def beit_tuned(path: Path, draw: Draw) -> Tensors:
    model = beit(draw) | tables(draw) | norm(draw, "fc_norm") | linear(draw, "head", 7)
    torch.save({"model": model}, path)
    return model


def dino_training(path: Path, draw: Draw) -> Tensors:
    def network() -> Tensors:
        backbone = vit(draw) | norm(draw, "norm")
        head = {"head.mlp.0.weight": draw(8, WIDTH), "head.mlp.0.bias": draw(8)}
        head |= {"head.last_layer.weight_g": draw(9, 1), "head.last_layer.weight_v": draw(9, 8)}
        return {f"backbone.{key}": tensor for key, tensor in backbone.items()} | head

    teacher = network()
    student = {f"module.{key}": tensor for key, tensor in network().items()}
    center = {"center": draw(1, 9)}
    torch.save({"student": student, "teacher": teacher, "epoch": 100, "dino_loss": center}, path)
    return {key.removeprefix("backbone."): tensor for key, tensor in teacher.items()}


def dino_released(path: Path, draw: Draw) -> Tensors:
    model = vit(draw) | norm(draw, "norm")
    torch.save(model, path)
    return model


def dinov2(path: Path, draw: Draw, *, registers: bool = False, gated: bool = False) -> Tensors:
    model = vit(draw) | norm(draw, "norm") | {"mask_token": draw(1, WIDTH)}
    for i in range(DEPTH):
        model |= {f"blocks.{i}.ls{n}.gamma": draw(WIDTH, scale=1) for n in (1, 2)}
        if gated:
            old = [f"blocks.{i}.mlp.fc{n}.{part}" for n in (1, 2) for part in ("weight", "bias")]
            for key in old:
                del model[key]
            model[f"blocks.{i}.mlp.w12.weight"] = draw(128, WIDTH)
            model[f"blocks.{i}.mlp.w12.bias"] = draw(128)
            model[f"blocks.{i}.mlp.w3.weight"] = draw(WIDTH, 64, scale=SMALL)
            model[f"blocks.{i}.mlp.w3.bias"] = draw(WIDTH, scale=SMALL)
    if registers:
        model["register_tokens"] = draw(1, 4, WIDTH, scale=SMALL)
    torch.save(model, path)
    return model


def dinov2_registers(path: Path, draw: Draw) -> Tensors:
    return dinov2(path, draw, registers=True)


def dinov2_gated(path: Path, draw: Draw) -> Tensors:
    return dinov2(path, draw, gated=True)


def deit(path: Path, draw: Draw) -> Tensors:
    model = vit(draw) | norm(draw, "norm") | linear(draw, "head", 7)
    torch.save({"model": model}, path)
    return model


def deit_distilled(path: Path, draw: Draw) -> Tensors:
    model = vit(draw, positions=GRID**2 + 2) | norm(draw, "norm") | linear(draw, "head", 7)
    model |= linear(draw, "head_dist", 7) | {"dist_token": draw(1, 1, WIDTH, scale=SMALL)}
    torch.save({"model": model}, path)
    return model


def deit_third(path: Path, draw: Draw) -> Tensors:
    model = vit(draw, positions=GRID**2) | norm(draw, "norm") | linear(draw, "head", 7)
    for i in range(DEPTH):
        model |= {f"blocks.{i}.gamma_{n}": draw(WIDTH, scale=1) for n in (1, 2)}
    torch.save({"model": model}, path)
    return model


def jax_arrays(draw: Draw) -> dict[str, np.ndarray]:
    """A vision transformer under JAX's names and in its layout."""
    head = WIDTH // HEADS
    shapes: dict[str, tuple[int, ...]] = {
        "cls": (1, 1, WIDTH),
        "embedding/kernel": (PATCH, PATCH, 3, WIDTH),
        "embedding/bias": (WIDTH,),
        "Transformer/posembed_input/pos_embedding": (1, GRID**2 + 1, WIDTH),
        "Transformer/encoder_norm/scale": (WIDTH,),
        "Transformer/encoder_norm/bias": (WIDTH,),
        "head/kernel": (WIDTH, 7),
        "head/bias": (7,),
        "pre_logits/kernel": (WIDTH, WIDTH),
        "pre_logits/bias": (WIDTH,),
    }
    for i in range(DEPTH):
        block = f"Transformer/encoderblock_{i}"
        attention = f"{block}/MultiHeadDotProductAttention_1"
        for role in ("query", "key", "value"):
            shapes[f"{attention}/{role}/kernel"] = (WIDTH, HEADS, head)
            shapes[f"{attention}/{role}/bias"] = (HEADS, head)
        shapes[f"{attention}/out/kernel"] = (HEADS, head, WIDTH)
        shapes[f"{attention}/out/bias"] = (WIDTH,)
        for norm_ in ("LayerNorm_0", "LayerNorm_2"):
            shapes[f"{block}/{norm_}/scale"] = shapes[f"{block}/{norm_}/bias"] = (WIDTH,)
        shapes[f"{block}/MlpBlock_3/Dense_0/kernel"] = (WIDTH, HIDDEN)
        shapes[f"{block}/MlpBlock_3/Dense_0/bias"] = (HIDDEN,)
        shapes[f"{block}/MlpBlock_3/Dense_1/kernel"] = (HIDDEN, WIDTH)
        shapes[f"{block}/MlpBlock_3/Dense_1/bias"] = (WIDTH,)
    small = ("cls", "pos_embedding", "embedding/bias", "out/", "Dense_1")
    arrays = {}
    for key, shape in shapes.items():
        scale = SMALL / 5 if key == "embedding/kernel" else SMALL if _any(small, key) else 0.5
        arrays[key] = draw(*shape, scale=scale).numpy()
    return arrays


def _any(parts: tuple[str, ...], key: str) -> bool:
    return any(part in key for part in parts)


def npz(path: Path, draw: Draw) -> Tensors:
    """The same numbers as a plain vision transformer's tensors, for the forward by hand."""
    arrays = jax_arrays(draw)
    with path.open("wb") as file:
        np.savez(file, **arrays)
    a = {key: torch.from_numpy(array) for key, array in arrays.items()}
    model = {
        "cls_token": a["cls"],
        "pos_embed": a["Transformer/posembed_input/pos_embedding"],
        "patch_embed.proj.weight": torch.einsum("hwio->oihw", a["embedding/kernel"]),
        "patch_embed.proj.bias": a["embedding/bias"],
        "norm.weight": a["Transformer/encoder_norm/scale"],
        "norm.bias": a["Transformer/encoder_norm/bias"],
    }
    for i in range(DEPTH):
        old, new = f"Transformer/encoderblock_{i}", f"blocks.{i}"
        attention = f"{old}/MultiHeadDotProductAttention_1"
        weights = [
            torch.einsum("ihk->hki", a[f"{attention}/{role}/kernel"]).reshape(WIDTH, WIDTH)
            for role in ("query", "key", "value")
        ]
        biases = [a[f"{attention}/{role}/bias"].reshape(-1) for role in ("query", "key", "value")]
        out = torch.einsum("hko->ohk", a[f"{attention}/out/kernel"]).reshape(WIDTH, WIDTH)
        model |= {
            f"{new}.norm1.weight": a[f"{old}/LayerNorm_0/scale"],
            f"{new}.norm1.bias": a[f"{old}/LayerNorm_0/bias"],
            f"{new}.attn.qkv.weight": torch.cat(weights),
            f"{new}.attn.qkv.bias": torch.cat(biases),
            f"{new}.attn.proj.weight": out,
            f"{new}.attn.proj.bias": a[f"{attention}/out/bias"],
            f"{new}.norm2.weight": a[f"{old}/LayerNorm_2/scale"],
            f"{new}.norm2.bias": a[f"{old}/LayerNorm_2/bias"],
            f"{new}.mlp.fc1.weight": a[f"{old}/MlpBlock_3/Dense_0/kernel"].T,
            f"{new}.mlp.fc1.bias": a[f"{old}/MlpBlock_3/Dense_0/bias"],
            f"{new}.mlp.fc2.weight": a[f"{old}/MlpBlock_3/Dense_1/kernel"].T,
            f"{new}.mlp.fc2.bias": a[f"{old}/MlpBlock_3/Dense_1/bias"],
        }
    return model
