"""Files of weights as MAE's authors write them, made small and from a seed."""

import argparse
from pathlib import Path

import torch
from torch import Tensor

WIDTH, DEPTH, PATCH, SIZE, HEADS = 24, 2, 8, 32, 3
TOKENS = (SIZE // PATCH) ** 2


def encoder_tensors() -> dict[str, Tensor]:
    """The encoder's tensors under MAE's names, drawn from seed 0."""
    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return 0.1 * torch.randn(*shape, generator=draw)

    tensors = {
        "cls_token": normal(1, 1, WIDTH),
        "pos_embed": normal(1, TOKENS + 1, WIDTH),
        "patch_embed.proj.weight": normal(WIDTH, 3, PATCH, PATCH),
        "patch_embed.proj.bias": normal(WIDTH),
    }
    for index in range(DEPTH):
        for name, shape in {
            "norm1.weight": (WIDTH,),
            "norm1.bias": (WIDTH,),
            "attn.qkv.weight": (3 * WIDTH, WIDTH),
            "attn.qkv.bias": (3 * WIDTH,),
            "attn.proj.weight": (WIDTH, WIDTH),
            "attn.proj.bias": (WIDTH,),
            "norm2.weight": (WIDTH,),
            "norm2.bias": (WIDTH,),
            "mlp.fc1.weight": (4 * WIDTH, WIDTH),
            "mlp.fc1.bias": (4 * WIDTH,),
            "mlp.fc2.weight": (WIDTH, 4 * WIDTH),
            "mlp.fc2.bias": (WIDTH,),
        }.items():
            tensors[f"blocks.{index}.{name}"] = normal(*shape)
    return tensors


def pretraining_tensors() -> dict[str, Tensor]:
    """The same with what the pretraining needs beside the encoder."""
    return encoder_tensors() | {
        "norm.weight": torch.full((WIDTH,), 3.0),
        "norm.bias": torch.full((WIDTH,), 5.0),
        "mask_token": torch.zeros(1, 1, 8),
        "decoder_pos_embed": torch.zeros(1, TOKENS + 1, 8),
        "decoder_embed.weight": torch.zeros(8, WIDTH),
        "decoder_embed.bias": torch.zeros(8),
        "decoder_pred.weight": torch.zeros(3 * PATCH * PATCH, 8),
        "decoder_pred.bias": torch.zeros(3 * PATCH * PATCH),
    }


def write_mae_file(path: Path, tensors: dict[str, Tensor] | None = None) -> Path:
    """A checkpoint as the authors' training program leaves it."""
    model = pretraining_tensors() if tensors is None else tensors
    momentum = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4}]}
    contents = {
        "model": model,
        "optimizer": momentum,
        "epoch": 799,
        "scaler": {"scale": 65536.0},
        "args": argparse.Namespace(model="mae_vit_tiny", lr=None, distributed=True),
    }
    torch.save(contents, path)
    return path


def features_by_hand(tensors: dict[str, Tensor], images_B3SS: Tensor) -> Tensor:
    """He et al. 2022's encoder written out: mean of the patches, then LayerNorm at identity."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, variance = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
        scaled = (x - mean) / (variance + 1e-6).sqrt()
        return scaled * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    b, grid = len(images_B3SS), SIZE // PATCH
    cut = images_B3SS.reshape(b, 3, grid, PATCH, grid, PATCH).permute(0, 2, 4, 1, 3, 5)
    kernel = tensors["patch_embed.proj.weight"].reshape(WIDTH, -1)
    x = cut.reshape(b, TOKENS, -1) @ kernel.T + tensors["patch_embed.proj.bias"]
    x = torch.cat([tensors["cls_token"].expand(b, -1, -1), x], 1) + tensors["pos_embed"]
    for index in range(DEPTH):
        name = f"blocks.{index}"
        qkv = linear(norm(x, f"{name}.norm1"), f"{name}.attn.qkv")
        q, k, v = qkv.reshape(b, TOKENS + 1, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5).softmax(-1)
        mixed = (weights @ v).transpose(1, 2).reshape(b, TOKENS + 1, WIDTH)
        x = x + linear(mixed, f"{name}.attn.proj")
        hidden = linear(norm(x, f"{name}.norm2"), f"{name}.mlp.fc1")
        hidden = 0.5 * hidden * (1 + torch.erf(hidden / 2**0.5))
        x = x + linear(hidden, f"{name}.mlp.fc2")
    pooled = x[:, 1:].mean(1)
    mean, variance = pooled.mean(-1, keepdim=True), pooled.var(-1, unbiased=False, keepdim=True)
    return (pooled - mean) / (variance + 1e-6).sqrt()
