"""Vision transformers written out in float64 from a file's own tensors: the oracle of the tests.

Nothing here uses the package or the networks of a library, nor torch's interpolation.
Shape letters: B images, T tokens, D dimensions, N heads, G patches a side.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq
from torch import Tensor

Tensors = dict[str, Tensor]
EPSILON = 1e-6


@dataclass(frozen=True)
class Original:
    """How a model's authors compute features."""

    pool: str  # "cls", "mean then fc_norm", "mean" of the normed patch tokens, "two tokens"
    resize: Callable[[np.ndarray, int], np.ndarray] | None = None  # (G, G, D) -> (H, H, D)
    shared: bool = False  # one table for all blocks
    tokens: tuple[str, ...] = ("cls_token",)  # with positions, before the patches
    late_tokens: tuple[str, ...] = ()  # without, after the class token
    placed: bool = True  # the tokens before the patches have positions
    fresh: Tensors = field(default_factory=dict)  # where the file holds no fc_norm


def layer_norm(x: Tensor, t: Tensors, name: str) -> Tensor:
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
    return (x - mean) / (variance + EPSILON).sqrt() * t[f"{name}.weight"] + t[f"{name}.bias"]


def linear(x: Tensor, t: Tensors, name: str) -> Tensor:
    return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]


def features(t: Tensors, images_B3SS: Tensor, heads: int, how: Original) -> Tensor:
    """Pooled features (B, D) in float64."""
    t = {key: tensor.double() for key, tensor in (how.fresh | t).items()}
    x, grid = patches(t, images_B3SS.double())
    tokens = [t[name].expand(len(x), -1, -1) for name in how.tokens]
    if how.resize is not None:
        places = positions(t["pos_embed"], len(how.tokens) if how.placed else 0, grid, how)
        if not how.placed:
            x = x + places
    x = torch.cat([*tokens, x], 1)
    if how.resize is not None and how.placed:
        x = x + places
    late = [t[name].expand(len(x), -1, -1) for name in how.late_tokens]
    x = torch.cat([x[:, :1], *late, x[:, 1:]], 1)
    depth = len({key.split(".")[1] for key in t if key.startswith("blocks.")})
    for i in range(depth):
        bias = relative_bias(t, i, grid, how.shared) if how.resize is None else 0
        x = block(x, t, f"blocks.{i}", heads, bias)
    first = x.shape[1] - grid**2
    if how.pool == "mean then fc_norm":
        return layer_norm(x[:, first:].mean(1), t, "fc_norm")
    x = layer_norm(x, t, "norm")
    if how.pool == "mean":
        return x[:, first:].mean(1)
    return x[:, :2].mean(1) if how.pool == "two tokens" else x[:, 0]


def patches(t: Tensors, images_B3SS: Tensor) -> tuple[Tensor, int]:
    kernel = t["patch_embed.proj.weight"]
    size = kernel.shape[-1]
    b, grid = len(images_B3SS), images_B3SS.shape[-1] // size
    cut = images_B3SS.reshape(b, 3, grid, size, grid, size).permute(0, 2, 4, 1, 3, 5)
    return cut.reshape(b, grid**2, -1) @ kernel.flatten(1).T + t["patch_embed.proj.bias"], grid


def block(x: Tensor, t: Tensors, name: str, heads: int, bias: Tensor | float) -> Tensor:
    b, count, width = x.shape
    y = layer_norm(x, t, f"{name}.norm1") @ t[f"{name}.attn.qkv.weight"].T
    if f"{name}.attn.q_bias" in t:
        q_bias, v_bias = t[f"{name}.attn.q_bias"], t[f"{name}.attn.v_bias"]
        y = y + torch.cat([q_bias, torch.zeros_like(q_bias), v_bias])
    else:
        y = y + t[f"{name}.attn.qkv.bias"]
    q, k, v = y.reshape(b, count, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-1, -2) / (width // heads) ** 0.5 + bias).softmax(-1)
    mixed = (weights @ v).transpose(1, 2).reshape(b, count, width)
    x = x + scale(t, name, 1) * linear(mixed, t, f"{name}.attn.proj")
    y = layer_norm(x, t, f"{name}.norm2")
    if f"{name}.mlp.w12.weight" in t:
        gate, value = linear(y, t, f"{name}.mlp.w12").chunk(2, -1)
        y = linear(gate * torch.sigmoid(gate) * value, t, f"{name}.mlp.w3")
    else:
        y = linear(y, t, f"{name}.mlp.fc1")
        y = linear(0.5 * y * (1 + torch.erf(y / 2**0.5)), t, f"{name}.mlp.fc2")
    return x + scale(t, name, 2) * y


def scale(t: Tensors, name: str, branch: int) -> Tensor | float:
    return t.get(f"{name}.gamma_{branch}", t.get(f"{name}.ls{branch}.gamma", 1.0))  # type: ignore


def positions(stored_1LD: Tensor, prefix: int, grid: int, how: Original) -> Tensor:
    old = round((stored_1LD.shape[1] - prefix) ** 0.5)
    if old == grid:
        return stored_1LD
    assert how.resize is not None
    map_GGD = stored_1LD[0, prefix:].reshape(old, old, -1).numpy()
    resized = torch.from_numpy(how.resize(map_GGD, grid)).reshape(1, grid**2, -1)
    return torch.cat([stored_1LD[:, :prefix], resized], 1)


def relative_bias(t: Tensors, i: int, grid: int, shared: bool) -> Tensor:
    """(N, T, T) from a table, entry by entry: how far and in which direction each key is."""
    own = "rel_pos_bias" if shared else f"blocks.{i}.attn"
    table = resize_table(t[f"{own}.relative_position_bias_table"].numpy(), grid)
    count = grid**2 + 1
    bias = np.empty((table.shape[1], count, count))
    for a in range(count):
        for b in range(count):
            if a == 0 or b == 0:
                row = len(table) - (1 if a == b else 3 if a == 0 else 2)
            else:
                (ya, xa), (yb, xb) = divmod(a - 1, grid), divmod(b - 1, grid)
                row = (ya - yb + grid - 1) * (2 * grid - 1) + xa - xb + grid - 1
            bias[:, a, b] = table[row]
    return torch.from_numpy(bias)


def resize_table(table_RN: np.ndarray, grid: int) -> np.ndarray:
    """A spline without knots at the second and last but one place, along each side in turn."""
    old, new = round((len(table_RN) - 3) ** 0.5), 2 * grid - 1
    if old == new:
        return table_RN
    n, m = old // 2, new // 2

    def end(q: float) -> float:
        return sum(q**k for k in range(n)) - m

    q = 1.01 if end(1.01) > 0 else 1.5 if end(1.5) < 0 else brentq(end, 1.01, 1.5)
    right = [sum(q**k for k in range(j + 1)) for j in range(n)]
    places = np.array([-p for p in reversed(right)] + [0.0] + right)
    wanted = np.clip(np.arange(-m, m + 1), places[0], places[-1])
    square = table_RN[:-3].reshape(old, old, -1)
    rows = CubicSpline(places, square, axis=0)(wanted)
    both = CubicSpline(places, rows, axis=1)(wanted)
    return np.concatenate([both.reshape(new * new, -1), table_RN[-3:]])


def cubic(distance: float, a: float) -> float:
    d = abs(distance)
    if d < 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def sampled(map_GGD: np.ndarray, rows_HG: np.ndarray) -> np.ndarray:
    return np.einsum("hg,wk,gkd->hwd", rows_HG, rows_HG, map_GGD)


def taps(old: int, new: int, step: float, kernel: Callable[[float], float]) -> np.ndarray:
    """Sampling without antialiasing; beyond the edge, the edge is repeated."""
    rows = np.zeros((new, old))
    for i in range(new):
        centre = (i + 0.5) * step - 0.5
        for j in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            rows[i, min(max(j, 0), old - 1)] += kernel(centre - j)
    return rows


def bicubic(map_GGD: np.ndarray, grid: int) -> np.ndarray:
    old = len(map_GGD)
    return sampled(map_GGD, taps(old, grid, old / grid, lambda d: cubic(d, -0.75)))


def bicubic_by_factor(map_GGD: np.ndarray, grid: int) -> np.ndarray:
    old = len(map_GGD)
    return sampled(map_GGD, taps(old, grid, old / (grid + 0.1), lambda d: cubic(d, -0.75)))


def bilinear(map_GGD: np.ndarray, grid: int) -> np.ndarray:
    old = len(map_GGD)
    return sampled(map_GGD, taps(old, grid, old / grid, lambda d: max(0.0, 1 - abs(d))))


def bicubic_antialiased(map_GGD: np.ndarray, grid: int) -> np.ndarray:
    """The kernel is stretched where the map shrinks, and cut off at the edge."""
    old = len(map_GGD)
    step = old / grid
    stretch = max(step, 1.0)
    rows = np.array(
        [[cubic((j + 0.5 - (i + 0.5) * step) / stretch, -0.5) for j in range(old)]
         for i in range(grid)]
    )  # fmt: skip
    return sampled(map_GGD, rows / rows.sum(1, keepdims=True))
