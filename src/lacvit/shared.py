"""What several runs on the same images need alike: read once, decoded once, encoded once.

A comparison hands one :class:`Shared` to all of its runs. A run alone has a fresh one, so there is
one path through the code, and the weights are the same bit for bit either way.

Shape letters: N images, D feature dimensions.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar, cast

import numpy as np
from torch import Tensor

from lacvit.backbones import Backbone
from lacvit.config import RunSettings
from lacvit.data.batches import DecodedImages, hold
from lacvit.data.records import ImageRecords
from lacvit.data.splits import Splits
from lacvit.features import Crops
from lacvit.reading import divide, read_images
from lacvit.training.logs import Progress
from lacvit.training.material import Compute, encode_images

T = TypeVar("T")

KEPT_BYTES = 6 << 30  # what one run may hold of its three splits: sharing needs no more


class Shared:
    """Splits, decoded images, and features of untouched backbones; the oldest make room.

    Nothing that it gives may be changed in place.
    """

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._room = kept_bytes
        self._kept: OrderedDict[Hashable, tuple[object, int]] = OrderedDict()

    def splits(self, settings: RunSettings, progress: Progress) -> Splits:
        """The splits that the settings name; see :func:`lacvit.reading.divide`.

        Images are looked through for unreadable ones the first time, however they are divided
        later, and what was found is told then.
        """
        data = settings.data
        named = ("read", data.path, data.root, data.strict)
        readable = self._once(named, lambda: read_images(settings, progress), lambda _: 0)
        drawn_by = settings.seed if data.shots is not None else None
        key = ("splits", data.model_dump_json(), drawn_by)
        return self._once(key, lambda: divide(readable, settings, progress), lambda _: 0)

    def images(self, records: ImageRecords, workers: int) -> DecodedImages:
        """The records, decoded; see :func:`lacvit.data.batches.hold`."""
        key = ("images", records.fingerprint)
        return self._once(key, lambda: hold(records, workers=workers), _bytes_of)

    def untouched_features(
        self,
        images: DecodedImages,
        backbone: Backbone,
        compute: Compute,
        untouched: Callable[[], Backbone],
        crops: Crops | None = None,
    ) -> np.ndarray:
        """Features, float32 (N, D), that a pretrained backbone has before anything trains it.

        Args:
            images: what is encoded.
            backbone: says which one it is; it may have been trained since.
            untouched: gives it as it was, on the device; called only where it is needed.
            crops: what is encoded of each image; None is the whole.
        """
        key = (
            "features",
            images.records.fingerprint,
            backbone.origin.model_dump_json(),
            backbone.architecture.model_dump_json(),
            backbone.input_spec,
            compute.precision,
            compute.evaluation_batch,
            str(compute.device),
            crops,
        )

        def encoded() -> np.ndarray:
            return encode_images(images, untouched(), compute, crops)

        return self._once(key, encoded, lambda features: features.nbytes)

    def _once(self, key: Hashable, make: Callable[[], T], size: Callable[[T], int]) -> T:
        if key in self._kept:
            self._kept.move_to_end(key)
            return cast(T, self._kept[key][0])
        made = make()
        self._kept[key] = (made, size(made))
        while sum(size for _, size in self._kept.values()) > self._room:
            oldest = next(name for name, (_, size) in self._kept.items() if size)
            if oldest == key:
                break  # what was asked for last stays, even if it alone is too much
            del self._kept[oldest]
        return made


def _bytes_of(images: DecodedImages) -> int:
    if isinstance(images.kept, Tensor):
        return images.kept.nbytes
    return sum(image.nbytes for image in images.kept)
