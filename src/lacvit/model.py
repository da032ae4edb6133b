"""A trained classifier that stands alone: backbone, head, class names, and how to feed it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Self

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from lacvit.backbones import Architecture, Backbone, Origin, build_backbone
from lacvit.backbones.saved_models import (
    BACKBONE,
    CARD,
    CONFIG,
    COPY,
    FORMAT_VERSION,
    HEAD,
    WEIGHTS,
    below,
    find_model,
    read_config,
)
from lacvit.data.decoding import UnreadableImageError, decode_image, upright_rgb
from lacvit.data.views import evaluation_view
from lacvit.devices import find_device
from lacvit.errors import InputError, in_one_line
from lacvit.features import Crops, encode
from lacvit.input_spec import InputSpec
from lacvit.metrics.calibration import tempered
from lacvit.neighbour_head import NeighbourHead
from lacvit.run_folder import write_bytes, write_json

# What `Classifier` is given as an image: a file, or pixels.
ImageLike = str | Path | Image.Image | np.ndarray


@dataclass(frozen=True)
class Prediction:
    """The answer for one image."""

    path: str  # "" of pixels
    label: str
    probability: float
    top: tuple[tuple[str, float], ...]  # the most probable classes, most probable first


class ModelConfig(BaseModel):
    """What ``config.json`` of a saved model says."""

    model_config = ConfigDict(frozen=True)

    format: int
    lacvit: str
    architecture: Architecture
    origin: Origin
    input_spec: InputSpec
    class_names: tuple[str, ...]
    temperature: float = Field(
        1.0, gt=0, description="divides the head's outputs before the softmax; fitted on validation"
    )
    neighbours: int | None = Field(
        None, ge=1, description="k of a head of nearest neighbours; without it the head is linear"
    )
    crops: Crops | None = Field(
        None, description="parts of an image whose features are averaged; without it the whole"
    )


def _read_config(path: Path) -> ModelConfig:
    try:
        return ModelConfig.model_validate(read_config(path))
    except ValidationError as error:
        raise InputError(f"{path} is damaged: {in_one_line(error)}. {COPY}") from None


class Classifier:
    """What ``lacvit.load`` gives and what ``model/`` in a run folder holds.

    Attributes:
        backbone: the encoder, in evaluation mode.
        head: features (B, D) -> logits (B, C): linear, or the nearest training images' votes.
        class_names: C names, in the order of the head's outputs.
        temperature: divides the head's outputs before the softmax, so that probabilities mean
            what they say; it moves no prediction.
        crops: parts of an image whose features are averaged, as they were for the head; None
            encodes whole images, in a sixth of the time and somewhat less exactly.
        folder: where it was loaded from; None where it was made here.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Linear | NeighbourHead,
        class_names: Sequence[str],
        temperature: float = 1.0,
        crops: Crops | None = None,
        folder: Path | None = None,
    ) -> None:
        self.backbone = backbone.eval()
        self.head = head.eval()
        self.class_names = tuple(class_names)
        self.temperature = temperature
        self.crops = crops
        self.folder = folder

    def __repr__(self) -> str:
        names = ", ".join(self.class_names[:5]) + ", ..." * (len(self.class_names) > 5)
        return (
            f"Classifier({self.backbone.origin.spec}, {len(self.class_names)} classes: {names}; "
            f"{self.input_spec.size} pixels, on {self.device})"
        )

    @property
    def input_spec(self) -> InputSpec:
        """How images are prepared; it came with the backbone."""
        return self.backbone.input_spec

    @property
    def device(self) -> torch.device:
        """Where the head is, and images are sent."""
        tensor: Tensor = next(iter(self.head.state_dict().values()))
        return tensor.device

    def to(self, device: torch.device) -> Self:
        """Move to a device, in place."""
        self.backbone.to(device)
        self.head.to(device)
        return self

    def predict(
        self, images: Iterable[ImageLike], *, batch_size: int = 64, top: int = 5
    ) -> list[Prediction]:
        """The most probable class of each image, in order.

        Args:
            images: paths of files, PIL images, or uint8 arrays (H, W), (H, W, 3).
            batch_size: images read at a time.
            top: classes told of each image, at most.

        Raises:
            InputError: a file is missing or is no image; it is named.
        """
        images = _listed(images)
        logits_NC = self.logits(self.embed(images, batch_size=batch_size))
        probabilities_NC = tempered(logits_NC, self.temperature)
        order_NC = np.argsort(-logits_NC, axis=1, kind="stable")
        return [
            Prediction(
                path=str(image) if isinstance(image, str | Path) else "",
                label=self.class_names[order[0]],
                probability=float(row[order[0]]),
                top=tuple((self.class_names[c], float(row[c])) for c in order[:top]),
            )
            for image, row, order in zip(images, probabilities_NC, order_NC, strict=True)
        ]

    def embed(self, images: Iterable[ImageLike], *, batch_size: int = 64) -> np.ndarray:
        """Pooled features of images, float32 (N, D), in order; ``images`` as for `predict`.

        Raises:
            InputError: a file is missing or is no image; it is named.
        """
        return encode(self.backbone, self._read(_listed(images), batch_size), crops=self.crops)

    @torch.no_grad()
    def logits(self, features_ND: np.ndarray) -> np.ndarray:
        """The head's outputs, float32 (N, C), from pooled features (N, D)."""
        logits_NC: Tensor = self.head(torch.from_numpy(features_ND).to(self.device))
        return logits_NC.cpu().numpy()

    def probabilities(self, features_ND: np.ndarray) -> np.ndarray:
        """Softmax of the logits over the temperature, float32 (N, C), from features (N, D)."""
        return tempered(self.logits(features_ND), self.temperature)

    def _read(self, images: Sequence[ImageLike], batch_size: int) -> Iterator[Tensor]:
        for start in range(0, len(images), batch_size):
            pixels = [_pixels(image) for image in images[start : start + batch_size]]
            yield evaluation_view(pixels, self.input_spec).to(self.device)

    def save(self, folder: Path, *, card: str) -> None:
        """Write ``config.json``, ``model.safetensors`` and the card ``README.md``."""
        tensors = {BACKBONE + k: v for k, v in self.backbone.encoder.state_dict().items()}
        tensors |= {HEAD + k: v for k, v in self.head.state_dict().items()}
        cpu = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        config = ModelConfig(
            format=FORMAT_VERSION,
            lacvit=version("lacvit"),
            architecture=self.backbone.architecture,
            origin=self.backbone.origin,
            input_spec=self.input_spec,
            class_names=self.class_names,
            temperature=self.temperature,
            neighbours=self.head.k if isinstance(self.head, NeighbourHead) else None,
            crops=self.crops,
        )
        write_bytes(folder / WEIGHTS, save(cpu))
        write_bytes(folder / CARD, card.encode())
        write_json(
            folder / CONFIG, config.model_dump(mode="json")
        )  # last: a folder with a config is whole

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The classifier saved in ``folder``, on the CPU, wherever the folder has been moved.

        Raises:
            InputError: a file is missing, damaged, or of a later version of lacvit.
        """
        config = _read_config(folder / CONFIG)
        backbone = build_backbone(config.architecture, config.input_spec, config.origin)
        try:
            tensors = load_file(folder / WEIGHTS)
            backbone.encoder.load_state_dict(below(BACKBONE, tensors))
            head = _read_head(below(HEAD, tensors), config, backbone.dim)
        except (OSError, SafetensorError, RuntimeError, KeyError) as error:
            raise InputError(
                f"{folder / WEIGHTS} is missing or damaged: {in_one_line(error)}. {COPY}"
            ) from error
        return cls(backbone, head, config.class_names, config.temperature, config.crops, folder)


def _read_head(
    tensors: dict[str, Tensor], config: ModelConfig, dim: int
) -> nn.Linear | NeighbourHead:
    classes = len(config.class_names)
    if config.neighbours is not None:
        return NeighbourHead(
            tensors["gallery_TD"], tensors["labels_T"], classes=classes, k=config.neighbours
        )
    head = nn.Linear(dim, classes)
    head.load_state_dict(tensors)
    return head


def _listed(images: Iterable[ImageLike]) -> list[ImageLike]:
    if isinstance(images, str | bytes | Path):  # a string is a sequence of strings too
        raise InputError(f"Give a list of paths: [{str(images)!r}].")
    if isinstance(images, Image.Image) or (isinstance(images, np.ndarray) and 2 <= images.ndim < 4):
        raise InputError("Give a list of images, even of one: [image].")
    return list(images)


def _pixels(image: ImageLike) -> np.ndarray:
    """An image as uint8 (H, W, 3), upright, RGB.

    Raises:
        InputError: a file is missing or is no image; an array is of another shape or dtype.
    """
    if isinstance(image, str | Path):
        return read_image(image)
    if isinstance(image, Image.Image):
        return upright_rgb(image)
    if not isinstance(image, np.ndarray):
        raise InputError(
            f"an image is a {type(image).__name__}; give a path, a PIL image or an array."
        )
    shaped = image.size > 0 and (image.ndim == 2 or image.shape[2:] == (3,))
    if image.dtype != np.uint8 or not shaped:
        raise InputError(
            f"an image is an array of {image.dtype}, shape {image.shape}; expected uint8, "
            f"(H, W, 3) in RGB or (H, W)."
        )
    return np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image.copy()


def read_image(path: str | Path) -> np.ndarray:
    """An image file as uint8 (H, W, 3), upright, RGB.

    Raises:
        InputError: it is missing or is no image.
    """
    try:
        return decode_image(Path(path).read_bytes())
    except OSError as error:
        raise UnreadableImageError(error.strerror or type(error).__name__, str(path)) from None
    except UnreadableImageError as error:
        raise UnreadableImageError(error.reason, str(path)) from None


def load(path: str | Path, *, device: str = "auto") -> Classifier:
    """The classifier in a run folder or in a ``model`` folder on its own.

    Args:
        path: a run folder, its ``model/``, or a copy of that anywhere.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        InputError: there is no model; what was found instead is said.
    """
    folder = Path(path)
    place = find_model(folder)
    if place is not None:
        return Classifier.load(place).to(find_device(device))
    if not folder.exists():
        raise InputError(f"There is no folder {folder}. Give a run folder of lacvit train.")
    if (folder / "status.json").exists():
        raise InputError(f"The run in {folder} has not finished: give its command again.")
    raise InputError(
        f"{folder} holds no model: neither config.json nor model/config.json is there. "
        f"Give a run folder of lacvit train, or its model folder."
    )
