"""How a model of transformers wants its images: its processor's file as an InputSpec."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from lacvit.backbones.hf_families import Family
from lacvit.errors import InputError, in_one_line
from lacvit.input_spec import Fit, InputSpec, Interpolation
from lacvit.run_folder import read_json

PREPROCESSOR = "preprocessor_config.json"
PROCESSOR = "processor_config.json"  # of transformers 5: the image processor is a part of it
NESTED = "image_processor"
FETCH = "Fetch the model again, or correct the file."
# Pillow's numbers of the kernels, in which the files speak. Others are near to bicubic.
KERNELS: dict[int, Interpolation] = {2: "bilinear", 3: "bicubic"}
# Older files give one number as the size. These processors mean the shorter side by it.
SHORTER_SIDE = ("CLIP", "Bit", "ChineseCLIP")

_log = logging.getLogger(__name__)


def input_spec_of(folder: Path, family: Family, native: int, image_size: int | None) -> InputSpec:
    """What the processor of a model does to an image.

    Args:
        folder: of the model; without ``processor_config.json`` that has an image processor in it,
            and without ``preprocessor_config.json``, the family's usual preparation is taken, and
            said in the log.
        family: of the model.
        native: the input size that its configuration names.
        image_size: another size that is wanted.

    Raises:
        InputError: the file is damaged.
    """
    usual = family.preparation
    path, written = _processor(folder)
    if written is None:
        _log.warning("%s has no %s; images are prepared as usual.", folder, PREPROCESSOR)
        return InputSpec(
            size=image_size or native, mean=usual.mean, std=usual.std, fit=usual.fit,
            interpolation=usual.interpolation, crop_fraction=usual.crop_fraction,
        )  # fmt: skip
    try:
        size, fraction, fit = _geometry(written, native)
        plain = not written.get("do_normalize", True)
        return InputSpec(
            size=image_size or size,
            mean=(0.0, 0.0, 0.0) if plain else tuple(written.get("image_mean", usual.mean)),
            std=(1.0, 1.0, 1.0) if plain else tuple(written.get("image_std", usual.std)),
            interpolation=KERNELS.get(written.get("resample", 3), "bicubic"),
            crop_fraction=fraction,
            fit=fit,
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is damaged: {in_one_line(error)}. {FETCH}") from error


def _processor(folder: Path) -> tuple[Path, dict[str, Any] | None]:
    """What the folder says of its image processor, and where; as transformers looks for it."""
    path = folder / PROCESSOR
    whole = read_json(path, FETCH) if path.exists() else {}
    if isinstance(whole, dict) and whole.get(NESTED) is not None:
        return path, whole[NESTED]
    path = folder / PREPROCESSOR
    if not path.exists():
        return path, None
    written = read_json(path, FETCH)
    if not isinstance(written, dict):
        raise InputError(f"{path} is damaged: it holds no settings. {FETCH}")
    return path, written


def _geometry(written: dict[str, Any], native: int) -> tuple[int, float, Fit]:
    """Final size, the share of the resized side that the crop keeps, and crop or squash."""
    size = written.get("size", native)
    kind = str(written.get("image_processor_type") or written.get("feature_extractor_type") or "")
    if isinstance(size, dict):
        fit: Fit = "crop" if "shortest_edge" in size else "squash"
        resized = int(size.get("shortest_edge") or size["height"])
    else:
        fit = "crop" if kind.startswith(SHORTER_SIDE) else "squash"
        resized = int(size if isinstance(size, int) else size[0])
    if not written.get("do_center_crop", "crop_size" in written):
        return resized, 1.0, fit
    crop = written.get("crop_size", resized)
    cropped = int(crop["height"] if isinstance(crop, dict) else crop)
    if not written.get("do_resize", True) or cropped > resized:
        return cropped, 1.0, fit
    return cropped, cropped / resized, fit
