"""Bytes of an image file to upright 8-bit RGB, whatever the file's mode."""

from __future__ import annotations

import io
import os
import struct
import zlib

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from lacvit.errors import InputError, first_line

MOST_THREADS = 8

# What Pillow's many plugins raise on bytes that are no image, or a broken one.
_DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    LookupError,
    ArithmeticError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

_ORIENTATION_TAG = 0x0112
# EXIF orientation -> what turns the stored pixels upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow scales grey of 2 and 4 bits to 8, and keeps the upper byte of colours of 16, but leaves the
# transparent level or colour as the file has it.
_STEPS = {"L;2": 85, "L;4": 17}
_DEEP_COLOUR = "RGB;16B"


class UnreadableImageError(InputError):
    """An image file that cannot be decoded; ``reason`` says why."""

    def __init__(self, reason: str, path: str | None = None) -> None:
        super().__init__(
            f"{path or 'an image'} cannot be read: {reason}. "
            f"Replace it by an image that opens, or remove it."
        )
        self.reason = reason
        self.path = path


def decoding_threads() -> int:
    """How many threads decode images where nobody says it; decoding runs beside other Python."""
    return min(MOST_THREADS, os.cpu_count() or 1)


def decode_image(payload: bytes) -> npt.NDArray[np.uint8]:
    """Decode an image file to uint8 (H, W, 3) RGB.

    The bytes decide the format. EXIF orientation is applied; of an animation the first frame
    is taken; transparency is laid on white; 16 bits are scaled to 8 (65535 becomes 255), never
    clipped; float pixels must run from 0 to 1. Colour profiles are not applied.

    Raises:
        UnreadableImageError: the bytes are empty, cut short, or no image.
    """
    if not payload:
        raise UnreadableImageError("the file is empty")
    try:
        image = Image.open(io.BytesIO(payload))
    except UnidentifiedImageError as error:
        raise UnreadableImageError("its bytes are no image of a known format") from error
    except _DECODING_ERRORS as error:
        raise UnreadableImageError(first_line(error)) from error
    with image:
        return upright_rgb(image)


def upright_rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    """An open image as `decode_image` gives a file.

    Of a PNG whose pixels are read already, Pillow has forgotten the depth: its transparent level or
    colour is then taken as it stands.

    Raises:
        UnreadableImageError: Pillow had not read it to its end yet, and cannot.
    """
    try:
        white_is_zero = _white_is_zero(image)
        return _to_rgb(_upright(_read(image)), white_is_zero=white_is_zero)
    except UnreadableImageError:
        raise
    except _DECODING_ERRORS as error:
        raise UnreadableImageError(first_line(error)) from error


def encode_png(image: npt.NDArray[np.uint8]) -> bytes:
    """A PNG file of uint8 (H, W) or (H, W, 3); ``decode_image`` gives the same pixels back."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _read(image: Image.Image) -> Image.Image:
    """The image with its pixels, and its transparent colour in their terms."""
    tiles = getattr(image, "tile", [])  # none once the pixels are read
    packing = tiles[0].args if image.format == "PNG" and tiles else None
    colour = image.info.get("transparency")
    image.load()
    # Where the image keeps it, so that one that is given twice is read alike.
    if packing in _STEPS and isinstance(colour, int):
        image.info["transparency"] = colour * _STEPS[packing]
    elif packing == _DEEP_COLOUR and isinstance(colour, tuple):
        image.info["transparency"] = tuple(level >> 8 for level in colour)
    return image


def _white_is_zero(image: Image.Image) -> bool:
    """Whether a TIFF counts from white; Pillow turns 8 bits and fewer round, and no deeper ones."""
    return isinstance(image, TiffImagePlugin.TiffImageFile) and (
        image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
    )


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except _DECODING_ERRORS:  # damaged EXIF beside sound pixels: take the pixels as they lie
        return image
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _to_rgb(image: Image.Image, *, white_is_zero: bool) -> npt.NDArray[np.uint8]:
    if image.mode == "RGB" and "transparency" not in image.info:
        return np.array(image)
    if image.mode == "F" or image.mode.startswith("I"):
        return _deep_grey_to_rgb(image, white_is_zero=white_is_zero)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return np.array(Image.alpha_composite(white, layer).convert("RGB"))
    return np.array(image.convert("RGB"))


def _deep_grey_to_rgb(image: Image.Image, *, white_is_zero: bool) -> npt.NDArray[np.uint8]:
    """Grey of more than 8 bits: modes I;16 and its byte orders, I (32-bit integers) and F."""
    pixels = np.asarray(image).astype(np.float64)
    if image.mode == "F":
        if not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
            raise UnreadableImageError("its pixels are floats outside 0 to 1")
        top = 1.0
    else:
        # Pillow gives 16-bit images as I;16 or as I; only beyond 65535 are they 32-bit ones.
        top = 65535.0 if pixels.max() <= 65535 else 2.0**31 - 1
    grey = np.rint(np.clip(pixels / top, 0, 1) * 255).astype(np.uint8)
    if white_is_zero:
        grey = 255 - grey
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[pixels == transparent] = 255
    return np.repeat(grey[:, :, None], 3, axis=2)
