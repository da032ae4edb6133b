"""Decoded images, and batches of views made from them, one epoch after another.

Threads do the work, not processes: Pillow and torch release the interpreter's lock, no data
is copied, and no script needs a guard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lacvit.data.augmentation import Augmentation, ViewKeys
from lacvit.data.draws import epoch_order, share
from lacvit.data.records import ImageRecords
from lacvit.data.views import Images, Pixels, evaluation_view, make_view
from lacvit.input_spec import InputSpec

__all__ = [
    "Batch",
    "DecodedImages",
    "ViewPlan",
    "epoch_order",
    "evaluation_batches",
    "hold",
    "share",
    "view_batches",
]

Made = TypeVar("Made")

# Images that are whole at one time, on their way to a batch or to be kept: a photograph may have
# 40 MB.
AT_ONCE = 16


@dataclass(frozen=True, eq=False)
class DecodedImages:
    """The images of ``records`` as uint8: those that fit in memory are kept, others decoded again.

    Made by ``hold``.

    Attributes:
        records: where the images come from.
        kept: the first images of the records, in order: a stack (N, H, W, 3) of all of them,
            where they have one size and fit in memory, else a list of arrays.
        workers: threads that decode.
    """

    records: ImageRecords
    kept: Tensor | list[Pixels]
    workers: int

    def __len__(self) -> int:
        return len(self.records)

    @property
    def all_kept(self) -> bool:
        """Whether no image is ever decoded again."""
        return len(self.kept) == len(self.records)

    def get(self, indices: npt.NDArray[np.integer], pool: Executor | None = None) -> Images:
        """uint8 (B, H, W, 3) where the whole set is kept and has one size, else a list."""
        if isinstance(self.kept, Tensor):
            return self.kept[torch.from_numpy(np.asarray(indices, dtype=np.int64))]
        positions = [int(index) for index in indices]
        if self.all_kept or pool is None:
            return [self._one(position) for position in positions]
        return list(pool.map(self._one, positions))

    def _one(self, position: int) -> Pixels:
        if position < len(self.kept):
            return cast(Pixels, self.kept[position])
        return self.records.read(position)


def hold(
    records: ImageRecords,
    *,
    workers: int = 1,
    memory_bytes: int = 2 << 30,
) -> DecodedImages:
    """Decode the images once and keep as many as fit into ``memory_bytes``.

    Raises:
        UnreadableImageError: an image cannot be decoded; ``find_unreadable`` finds all of them.
    """
    kept: list[Pixels] = []
    if memory_bytes == 0:
        return DecodedImages(records, kept, workers)
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        decoded = _decoded(records, pool)
        first = next(decoded, None)
        if first is None:
            return DecodedImages(records, [], workers)
        if first.nbytes * len(records) <= memory_bytes:  # filled in place: no second copy
            stack = np.empty((len(records), *first.shape), dtype=np.uint8)
        else:
            stack = np.empty((0, *first.shape), dtype=np.uint8)
        used = 0
        for position, image in enumerate(chain([first], decoded)):
            used += image.nbytes
            if used > memory_bytes:
                return DecodedImages(records, kept, workers)
            if len(stack) and image.shape == stack.shape[1:]:
                stack[position] = image
                image = stack[position]
            else:
                stack = stack[:0]
            kept.append(image)
    if len(stack):
        return DecodedImages(records, torch.from_numpy(stack), workers)
    return DecodedImages(records, kept, workers)


def _decoded(records: ImageRecords, pool: Executor) -> Iterator[Pixels]:
    """All images in order, a limited number of them decoded ahead."""
    for start in range(0, len(records), AT_ONCE):
        yield from pool.map(records.read, range(start, min(start + AT_ONCE, len(records))))


@dataclass(frozen=True)
class Batch:
    """V views of B images: this process's share of the G images of one step.

    Letters: B and G images, V views, C channels, H x W pixels. A process alone has B = G; among
    several, B may be 0.
    """

    views_BVCHW: Tensor
    labels_B: Tensor
    indices_B: Tensor
    global_labels_G: Tensor  # of all processes' shares, on the CPU


@dataclass(frozen=True)
class ViewPlan:
    """How views are made from images, the same in every epoch.

    ``batch_size`` counts the images of all processes, of which ``rank`` makes its share.
    """

    spec: InputSpec
    augmentation: Augmentation
    views: int = 2
    batch_size: int = 128
    seed: int = 0
    device: torch.device | str = "cpu"
    workers: int = 1
    rank: int = 0
    world_size: int = 1


def view_batches(
    images: DecodedImages, labels: npt.NDArray[np.int64], plan: ViewPlan, epoch: int
) -> Iterator[Batch]:
    """All images once, in the epoch's order, ``plan.views`` views each; the last batch is short.

    Of every batch this process makes its own share, which may be empty.

    Where images are decoded again, or cropped one by one for an accelerator, the next batch is
    made in a thread while the last one is worked on. A CPU that holds its images has no time to
    spare for that.
    """
    order = epoch_order(len(images), seed=plan.seed, epoch=epoch)
    parts = _parts(order, plan.batch_size)
    stacked = isinstance(images.kept, Tensor)
    elsewhere = torch.device(plan.device).type != "cpu"
    with _pool(1 if stacked else plan.workers) as pool:
        make = partial(_batch, images, labels, plan, epoch, pool)
        if images.all_kept and (stacked or not elsewhere):
            yield from map(make, parts)
        else:
            yield from _ahead(make, parts)


def evaluation_batches(
    images: DecodedImages,
    spec: InputSpec,
    *,
    batch_size: int,
    device: torch.device | str = "cpu",
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[Tensor]:
    """The evaluation view of this process's images in their order, (B, 3, S, S) at a time."""
    parts = _parts(share(np.arange(len(images)), rank, world_size), batch_size)
    with _pool(1 if isinstance(images.kept, Tensor) else images.workers) as pool:
        make = partial(_evaluation_batch, images, spec, device, pool)
        yield from map(make, parts) if images.all_kept else _ahead(make, parts)


def _parts(order: npt.NDArray[np.int64], batch_size: int) -> list[npt.NDArray[np.int64]]:
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def _batch(
    images: DecodedImages,
    labels: npt.NDArray[np.int64],
    plan: ViewPlan,
    epoch: int,
    pool: Executor | None,
    part: npt.NDArray[np.int64],
) -> Batch:
    own = share(part, plan.rank, plan.world_size)
    return Batch(
        views_BVCHW=_views(images, plan, epoch, pool, own),
        labels_B=torch.from_numpy(labels[own]).to(plan.device),
        indices_B=torch.from_numpy(own).to(plan.device),
        global_labels_G=torch.from_numpy(labels[part]),
    )


def _views(
    images: DecodedImages,
    plan: ViewPlan,
    epoch: int,
    pool: Executor | None,
    part: npt.NDArray[np.int64],
) -> Tensor:
    if len(part) == 0:
        side = plan.spec.size
        return torch.zeros(0, plan.views, 3, side, side, device=plan.device)
    keys = [ViewKeys(plan.seed, epoch, number) for number in range(plan.views)]

    def of(few: npt.NDArray[np.int64]) -> Tensor:
        pixels = images.get(few, pool)
        if isinstance(pixels, Tensor):
            pixels = pixels.to(plan.device)
        view = partial(make_view, pixels, few, plan.spec, plan.augmentation)
        return torch.stack([view(key, pool=pool, device=plan.device) for key in keys], dim=1)

    return _few_at_once(images, part, of)


def _evaluation_batch(
    images: DecodedImages,
    spec: InputSpec,
    device: torch.device | str,
    pool: Executor | None,
    part: npt.NDArray[np.int64],
) -> Tensor:
    def of(few: npt.NDArray[np.int64]) -> Tensor:
        return evaluation_view(images.get(few, pool), spec, pool=pool, device=device)

    return _few_at_once(images, part, of)


def _few_at_once(
    images: DecodedImages,
    part: npt.NDArray[np.int64],
    of: Callable[[npt.NDArray[np.int64]], Tensor],
) -> Tensor:
    """What ``of`` makes of a batch, a few images after the others where they must be decoded."""
    if images.all_kept:
        return of(part)
    return torch.cat([of(few) for few in _parts(part, AT_ONCE)])


@contextmanager
def _pool(workers: int) -> Iterator[Executor | None]:
    """Threads, or None where one is asked for."""
    if workers < 2:
        yield None
        return
    with ThreadPoolExecutor(workers) as pool:
        yield pool


def _ahead(
    make: Callable[[npt.NDArray[np.int64]], Made], parts: Sequence[npt.NDArray[np.int64]]
) -> Iterator[Made]:
    """``map(make, parts)``, with the next one always under way in a thread."""
    with ThreadPoolExecutor(1) as pool:
        waiting: Future[Made] | None = None
        for part in parts:
            following = pool.submit(make, part)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()
