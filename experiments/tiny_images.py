"""Small square images as one uint8 tensor, and random crops of them by matrix products.

Shape letters: B images, 3 channels, S pixels a side (source), T pixels a side (target).
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image


@dataclass(frozen=True)
class Normalisation:
    """A network's input: (pixels / 255 - mean) / std."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, images_B3SS: torch.Tensor) -> torch.Tensor:
        """Pixels from 0 to 255, uint8 or float, to float32."""
        mean, std = (torch.tensor(part)[:, None, None] for part in (self.mean, self.std))
        return (images_B3SS.float() / 255 - mean) / std


PICO = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# The files of MAE, SimMIM and data2vec are read with the normalisation of the originals.
IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def read_images(parquet: Path, cache: Path | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Decode every image of a Parquet file, once.

    Args:
        parquet: columns ``image`` (struct with ``bytes``) and ``label``; all images of one size.
        cache: folder that keeps the decoded pixels as ``.npy`` for the next call.

    Returns:
        uint8 images_B3SS and int64 labels_B.
    """
    table = pq.read_table(parquet)
    labels_B = torch.from_numpy(table["label"].to_numpy().astype(np.int64))
    kept = cache / f"{parquet.parent.name}-{parquet.stem}.npy" if cache else None
    if kept is not None and kept.exists():
        return torch.from_numpy(np.load(kept)), labels_B
    encoded = table["image"].combine_chunks().field("bytes").to_pylist()
    first = np.asarray(Image.open(io.BytesIO(encoded[0])).convert("RGB"))
    images = np.empty((len(encoded), 3, *first.shape[:2]), dtype=np.uint8)
    for row, data in enumerate(encoded):
        images[row] = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).transpose(2, 0, 1)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(f".{np.random.randint(1 << 30)}.npy")
        np.save(part, images)
        part.replace(kept)
    return torch.from_numpy(images), labels_B


def random_crops(
    images_B3SS: torch.Tensor, smallest: float, generator: torch.Generator
) -> torch.Tensor:
    """One random resized crop and horizontal flip of every image, uint8 in, float32 pixels out.

    Area uniform in [smallest, 1], log aspect ratio uniform in [log 3/4, log 4/3], as
    torchvision's RandomResizedCrop, but with boxes at fractions of a pixel, and a side that
    would be too long cut to the image. Bilinear; T = S, so every crop is an enlargement and
    needs no antialiasing. Each image has its own two S x S resampling matrices: two batched
    products, no loop over images.
    """
    count, _, _, side = images_B3SS.shape
    area, log_ratio, top, left, flip = torch.rand(5, count, generator=generator)
    area = smallest + (1 - smallest) * area
    root_ratio = torch.exp((log_ratio * 2 - 1) * float(np.log(4 / 3)) / 2)
    height = (area.sqrt() / root_ratio).clamp(max=1) * side
    width = (area.sqrt() * root_ratio).clamp(max=1) * side
    rows_BTS = _resampling(top * (side - height), height, side)
    columns_BTS = _resampling(left * (side - width), width, side)
    columns_BTS = torch.where((flip < 0.5)[:, None, None], columns_BTS.flip(1), columns_BTS)
    return rows_BTS[:, None] @ images_B3SS.float() @ columns_BTS.mT[:, None]


def _resampling(start_B: torch.Tensor, length_B: torch.Tensor, side: int) -> torch.Tensor:
    """Matrices that read ``side`` samples of [start, start + length] by linear interpolation."""
    pixels_S = torch.arange(side, dtype=torch.float32)
    low_B1, length_B1 = start_B[:, None], length_B[:, None]
    centres_BT = low_B1 + (pixels_S + 0.5) * length_B1 / side - 0.5
    centres_BT = torch.maximum(centres_BT, low_B1).clamp(min=0)
    centres_BT = torch.minimum(centres_BT, low_B1 + length_B1 - 1).clamp(max=side - 1)
    return (1 - (centres_BT[:, :, None] - pixels_S).abs()).clamp_(min=0)
