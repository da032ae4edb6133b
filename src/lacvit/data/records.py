"""Images as immutable columns: where the bytes lie, what they are called, which class they have."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from lacvit.data.decoding import UnreadableImageError, decode_image, encode_png
from lacvit.errors import InputError

__all__ = [
    "ArraySource",
    "FileSource",
    "ImageRecords",
    "ImageSource",
    "RememberedSource",
    "UnreadableImageError",
    "decode_image",
    "records_from_arrays",
]

Indices = Iterable[int] | npt.NDArray[np.integer]


class ImageSource(ABC):
    """Where the images are: gives the encoded bytes of each, by position."""

    @abstractmethod
    def payload(self, index: int) -> bytes:
        """The bytes of one image file; raises UnreadableImageError where there are none."""

    @abstractmethod
    def select(self, indices: npt.NDArray[np.int64]) -> Self:
        """The same source with these images, in this order."""

    def pixels(self, index: int) -> npt.NDArray[np.uint8]:
        """One image, decoded: uint8 (H, W, 3)."""
        return decode_image(self.payload(index))

    def digest(self, index: int) -> bytes:
        """sha256 of the image's content."""
        return hashlib.sha256(self.payload(index)).digest()


@dataclass(frozen=True)
class FileSource(ImageSource):
    """Image files below one folder."""

    root: Path
    paths: tuple[str, ...]  # relative to root, with "/"

    def payload(self, index: int) -> bytes:
        path = self.root / self.paths[index]
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            reason = "the link points nowhere" if path.is_symlink() else "the file is gone"
            raise UnreadableImageError(reason) from error
        except OSError as error:
            raise UnreadableImageError(error.strerror or type(error).__name__) from error

    def select(self, indices: npt.NDArray[np.int64]) -> Self:
        return replace(self, paths=tuple(self.paths[i] for i in indices))


@dataclass(frozen=True, eq=False)
class ArraySource(ImageSource):
    """Images that are in memory already, each uint8 (H, W) or (H, W, 3)."""

    images: Sequence[npt.NDArray[np.uint8]]

    def payload(self, index: int) -> bytes:
        return encode_png(self.images[index])

    def select(self, indices: npt.NDArray[np.int64]) -> Self:
        return replace(self, images=[self.images[i] for i in indices])

    def pixels(self, index: int) -> npt.NDArray[np.uint8]:
        image = self.images[index]
        return np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image

    def digest(self, index: int) -> bytes:
        image = self.images[index]
        return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()


@dataclass(frozen=True, eq=False)
class RememberedSource(ImageSource):
    """Another source, some of whose images are decoded already and are not decoded again."""

    source: ImageSource
    images: tuple[npt.NDArray[np.uint8] | None, ...]

    def payload(self, index: int) -> bytes:
        return self.source.payload(index)

    def select(self, indices: npt.NDArray[np.int64]) -> Self:
        chosen = tuple(self.images[i] for i in indices)
        return replace(self, source=self.source.select(indices), images=chosen)

    def pixels(self, index: int) -> npt.NDArray[np.uint8]:
        image = self.images[index]
        return self.source.pixels(index) if image is None else image

    def digest(self, index: int) -> bytes:
        return self.source.digest(index)


@dataclass(frozen=True, eq=False)
class ImageRecords:
    """N images: source of the bytes, identity, label.

    Attributes:
        source: gives the encoded bytes of image ``i``.
        paths: identity of each image: its path relative to DATA with ``/``, or its row.
        labels: int64 (N,), positions in ``class_names``.
        class_names: all classes of the data, also those that this selection has no image of.
    """

    source: ImageSource = field(repr=False)
    paths: tuple[str, ...] = field(repr=False)
    labels: npt.NDArray[np.int64] = field(repr=False)
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        labels = np.array(self.labels, dtype=np.int64)
        if labels.shape != (len(self.paths),):
            raise ValueError(f"{len(self.paths)} paths, but labels of shape {labels.shape}")
        if len(labels) and not (labels.min() >= 0 and labels.max() < len(self.class_names)):
            raise ValueError(f"a label is outside 0..{len(self.class_names) - 1}")
        labels.setflags(write=False)
        object.__setattr__(self, "labels", labels)

    def __len__(self) -> int:
        return len(self.paths)

    def select(self, indices: Indices) -> ImageRecords:
        """The images at these positions, in this order."""
        chosen = np.asarray(
            indices if isinstance(indices, np.ndarray) else list(indices), dtype=np.int64
        )
        return replace(
            self,
            source=self.source.select(chosen),
            paths=tuple(self.paths[i] for i in chosen),
            labels=self.labels[chosen],
        )

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """Image ``index``, decoded: uint8 (H, W, 3), upright.

        Raises:
            UnreadableImageError: names the image and says what is wrong with it.
        """
        try:
            return self.source.pixels(index)
        except UnreadableImageError as error:
            raise UnreadableImageError(error.reason, path=self.paths[index]) from error

    def counts(self) -> npt.NDArray[np.int64]:
        """Images of each class, in the order of ``class_names``."""
        return np.bincount(self.labels, minlength=len(self.class_names)).astype(np.int64)

    def relabel(self, class_names: Sequence[str]) -> ImageRecords:
        """The same images with labels that are positions in ``class_names``; matched by name.

        Raises:
            InputError: an image's class is not among ``class_names``.
        """
        position = {name: i for i, name in enumerate(class_names)}
        used = [self.class_names[i] for i in np.flatnonzero(self.counts())]
        unknown = [name for name in used if name not in position]
        if unknown:
            raise InputError(
                f"unknown {'class' if len(unknown) == 1 else 'classes'} {some_of(unknown)}; "
                f"known are {some_of(class_names, most=20)}. Classes are matched by name: rename "
                f"those that are unknown, or leave their images out."
            )
        table = np.array([position.get(name, -1) for name in self.class_names], dtype=np.int64)
        return replace(self, labels=table[self.labels], class_names=tuple(class_names))

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over path, class name and content of each image, in order.

        Two copies of the data have the same one, wherever they lie. A file that cannot be
        opened counts as an empty one.
        """
        whole = hashlib.sha256()
        for index, (path, label) in enumerate(zip(self.paths, self.labels, strict=True)):
            for text in (path, self.class_names[label]):
                encoded = text.encode("utf-8", "surrogateescape")
                whole.update(len(encoded).to_bytes(8, "little") + encoded)
            whole.update(self._content_digest(index))
        return whole.hexdigest()

    def _content_digest(self, index: int) -> bytes:
        try:
            return self.source.digest(index)
        except UnreadableImageError:
            return hashlib.sha256().digest()


def records_from_arrays(
    images: Sequence[npt.NDArray[np.uint8]],
    labels: Sequence[int] | npt.NDArray[np.integer],
    class_names: Sequence[str],
    *,
    name: str = "image",
) -> ImageRecords:
    """Records of images that are in memory, uint8 (H, W) or (H, W, 3) each."""
    width = len(str(max(len(images) - 1, 0)))
    paths = tuple(f"{name}-{i:0{width}d}" for i in range(len(images)))
    return ImageRecords(
        source=ArraySource(list(images)),
        paths=paths,
        labels=np.asarray(labels, dtype=np.int64),
        class_names=tuple(class_names),
    )


def some_of(names: Sequence[str], most: int = 5) -> str:
    """``a, b, c and 4 more``."""
    listed = ", ".join(names[:most])
    return listed if len(names) <= most else f"{listed} and {len(names) - most} more"
