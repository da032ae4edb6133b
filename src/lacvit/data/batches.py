"""Decoded images, and batches of views made from them, one epoch after another.

Threads do the work, not processes: Pillow and torch release the interpreter's lock, no data
is copied, and no script needs a guard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from lacvit.data.augmentation import Augmentation, ViewKeys
from lacvit.data.draws import epoch_order
from lacvit.data.records import ImageRecords
from lacvit.data.views import Images, evaluation_view, make_view
from lacvit.input_spec import InputSpec

__all__ = [
    "Batch",
    "DecodedImages",
    "ViewPlan",
    "epoch_order",
    "evaluation_batches",
    "hold",
    "view_batches",
]

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class DecodedImages:
    """The images of ``records`` as uint8: those that fit in memory are kept, others decoded again.

    Made by ``hold``. What is kept changes no pixel, only the time.
    """

    records: ImageRecords
    kept: list[Pixels]  # the first images of the records, in order
    stack: Tensor | None  # all of them (N, H, W, 3), where all have one size and fit
    max_side: int | None
    workers: int

    def __len__(self) -> int:
        return len(self.records)

    @property
    def all_kept(self) -> bool:
        return self.stack is not None or len(self.kept) == len(self.records)

    def get(self, indices: npt.NDArray[np.integer]) -> Images:
        """uint8 (B, H, W, 3) where the whole set has one size and is kept, else a list."""
        if self.stack is not None:
            return self.stack[torch.from_numpy(np.asarray(indices, dtype=np.int64))]
        if self.all_kept or self.workers < 2:
            return [self._one(int(i)) for i in indices]
        with ThreadPoolExecutor(self.workers) as pool:
            return list(pool.map(self._one, (int(i) for i in indices)))

    def _one(self, index: int) -> Pixels:
        if index < len(self.kept):
            return self.kept[index]
        return _shrink(self.records.read(index), self.max_side)


def hold(
    records: ImageRecords,
    *,
    workers: int = 1,
    memory_bytes: int = 2 << 30,
    max_side: int | None = None,
) -> DecodedImages:
    """Decode the images once and keep as many as fit into ``memory_bytes``.

    With ``max_side``, an image whose shorter side is longer is shrunk to it once (Lanczos),
    whether it is kept or not: large photographs then cost little, and views change little as
    long as ``max_side`` is well above the size of a view.

    Raises:
        UnreadableImageError: an image cannot be decoded; ``find_unreadable`` finds all of them.
    """
    kept: list[Pixels] = []
    used = 0
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        for start in range(0, len(records), 256):
            part = range(start, min(start + 256, len(records)))
            decoded = pool.map(lambda i: _shrink(records.read(i), max_side), part)
            for image in decoded:
                used += image.nbytes
                if used > memory_bytes:
                    return DecodedImages(records, kept, None, max_side, workers)
                kept.append(image)
    if kept and len({image.shape for image in kept}) == 1:
        stack = torch.from_numpy(np.stack(kept))
        return DecodedImages(records, [], stack, max_side, workers)
    return DecodedImages(records, kept, None, max_side, workers)


def _shrink(image: Pixels, max_side: int | None) -> Pixels:
    short = min(image.shape[:2])
    if max_side is None or short <= max_side:
        return image
    height, width = (max(1, round(side * max_side / short)) for side in image.shape[:2])
    shrunk = Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)
    return np.array(shrunk)


@dataclass(frozen=True)
class Batch:
    """V views of B images. Letters: B images, V views, C channels, H x W pixels."""

    views_BVCHW: Tensor
    labels_B: Tensor
    indices_B: Tensor


@dataclass(frozen=True)
class ViewPlan:
    """How views are made from images, the same in every epoch."""

    spec: InputSpec
    augmentation: Augmentation
    views: int = 2
    batch_size: int = 128
    seed: int = 0
    device: torch.device | str = "cpu"
    workers: int = 1


def view_batches(
    images: DecodedImages, labels: npt.NDArray[np.int64], plan: ViewPlan, epoch: int
) -> Iterator[Batch]:
    """All images once, in the epoch's order, ``plan.views`` views each; the last batch is short."""
    order = epoch_order(len(images), seed=plan.seed, epoch=epoch)
    parts = [
        order[start : start + plan.batch_size] for start in range(0, len(order), plan.batch_size)
    ]
    make = partial(_batch, images, labels, plan, epoch)
    if images.all_kept and torch.device(plan.device).type == "cpu":
        yield from map(make, parts)
        return
    yield from _ahead(make, parts)


def evaluation_batches(
    images: DecodedImages, spec: InputSpec, *, batch_size: int, device: torch.device | str = "cpu"
) -> Iterator[Tensor]:
    """The evaluation view of all images in their order, (B, 3, S, S) at a time."""
    for start in range(0, len(images), batch_size):
        part = np.arange(start, min(start + batch_size, len(images)))
        yield evaluation_view(_moved(images.get(part), device), spec).to(device)


def _batch(
    images: DecodedImages,
    labels: npt.NDArray[np.int64],
    plan: ViewPlan,
    epoch: int,
    part: npt.NDArray[np.int64],
) -> Batch:
    pixels = _moved(images.get(part), plan.device)
    views = [
        make_view(pixels, part, plan.spec, plan.augmentation, ViewKeys(plan.seed, epoch, view))
        for view in range(plan.views)
    ]
    return Batch(
        views_BVCHW=torch.stack(views, dim=1).to(plan.device),
        labels_B=torch.from_numpy(labels[part]).to(plan.device),
        indices_B=torch.from_numpy(part).to(plan.device),
    )


def _moved(images: Images, device: torch.device | str) -> Images:
    return images.to(device) if isinstance(images, Tensor) else images


def _ahead(
    make: Callable[[npt.NDArray[np.int64]], Batch], parts: Sequence[npt.NDArray[np.int64]]
) -> Iterator[Batch]:
    """``map(make, parts)``, with the next one always under way in a thread."""
    with ThreadPoolExecutor(1) as pool:
        waiting: Future[Batch] | None = None
        for part in parts:
            following = pool.submit(make, part)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()
