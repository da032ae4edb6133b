import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import encoded, noise, png, smooth
from PIL import Image

from lacvit.data.decoding import UnreadableImageError, decode_image, encode_png, upright_rgb
from lacvit.errors import InputError

UPRIGHT = noise(height=5, width=7)

# How a camera stores an upright picture under each EXIF orientation (EXIF 2.3, tag 274).
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.transpose(1, 0, 2),
    6: UPRIGHT.transpose(1, 0, 2)[::-1],
    7: UPRIGHT.transpose(1, 0, 2)[::-1, ::-1],
    8: UPRIGHT.transpose(1, 0, 2)[:, ::-1],
}


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", STORED)
def test_orientation_is_applied(form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {}
    payload = encoded(np.ascontiguousarray(STORED[orientation]), form, exif=exif, **options)
    np.testing.assert_array_equal(decode_image(payload), UPRIGHT)


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_meaningless_orientation_is_ignored(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decode_image(encoded(UPRIGHT, exif=exif)), UPRIGHT)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")
def test_damaged_exif_does_not_cost_the_image():
    payload = encoded(UPRIGHT, exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    np.testing.assert_array_equal(decode_image(payload), UPRIGHT)


@pytest.mark.parametrize(
    ("form", "dtype"), [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2"), ("TIFF", "<i4")]
)
def test_sixteen_bit_grey_is_scaled(form, dtype):
    levels = np.arange(256)
    payload = encoded(Image.fromarray((levels * 257).astype(dtype).reshape(16, 16)), form)
    expected = np.repeat(levels.astype(np.uint8).reshape(16, 16, 1), 3, axis=2)
    np.testing.assert_array_equal(decode_image(payload), expected)


def test_sixteen_bits_round_to_the_nearest_level():
    pixels = np.array([[0, 128, 129, 32768, 65535]], dtype=np.uint16)
    assert decode_image(encoded(Image.fromarray(pixels)))[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_thirty_two_bit_grey_is_scaled():
    pixels = np.array([[0, 2**30, 2**31 - 1]], dtype=np.int32)
    payload = encoded(Image.fromarray(pixels), "TIFF")
    assert decode_image(payload)[0, :, 0].tolist() == [0, 128, 255]


def test_float_pixels_run_from_0_to_1():
    pixels = np.array([[0.0, 0.5, 1.0]], dtype=np.float32)
    assert decode_image(encoded(Image.fromarray(pixels), "TIFF"))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_grey_that_counts_from_white(dtype, compression):
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    picture = Image.fromarray((np.array([[0, 0.2, 1]]) * top).astype(dtype))
    payload = encoded(picture, "TIFF", tiffinfo={262: 0}, compression=compression)
    # Pillow turns the pixels round as it writes 8 bits, and leaves deeper ones as they are.
    expected = [0, 51, 255] if dtype == np.uint8 else [255, 204, 0]
    assert decode_image(payload)[0, :, 0].tolist() == expected


def test_grey_that_counts_from_white_is_turned_upright():
    pixels, exif = np.array([[0, 65535]], dtype=np.uint16), Image.Exif()
    exif[0x0112], exif[262] = 6, 0
    payload = encoded(Image.fromarray(pixels), "TIFF", exif=exif)
    assert decode_image(payload)[:, 0, 0].tolist() == [255, 0]


@pytest.mark.parametrize("value", [-0.5, 1.5, np.nan, np.inf])
def test_other_float_pixels_are_refused(value):
    payload = encoded(Image.fromarray(np.full((2, 2), value, dtype=np.float32)), "TIFF")
    with pytest.raises(UnreadableImageError, match="its pixels are floats outside 0 to 1"):
        decode_image(payload)


@pytest.mark.parametrize(("form", "tolerance"), [("TIFF", 0), ("JPEG", 6)])
def test_cmyk(form, tolerance):
    inks = {(0, 255, 255, 0): (255, 0, 0), (0, 0, 0, 255): (0, 0, 0), (0, 0, 0, 0): (255,) * 3}
    for ink, colour in inks.items():
        payload = encoded(Image.new("CMYK", (16, 16), ink), form)
        error = np.abs(decode_image(payload).astype(int) - colour).max()
        assert error <= tolerance, (ink, error)


def test_transparency_is_laid_on_white():
    pixels = np.zeros((1, 3, 4), dtype=np.uint8)
    pixels[0, :, 3] = 255, 128, 0  # black, half black, nothing
    assert decode_image(encoded(pixels))[0, :, 0].tolist() == [0, 127, 255]


def test_grey_with_transparency():
    picture = Image.merge("LA", [Image.new("L", (2, 1), 10), Image.new("L", (2, 1), 0)])
    picture.putpixel((0, 0), (10, 255))
    assert decode_image(encoded(picture))[0, :, 1].tolist() == [10, 255]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_transparent_colour_becomes_white(mode):
    colour = 7 if mode == "L" else (7, 7, 7)
    picture = Image.new(mode, (2, 1), colour)
    picture.putpixel((1, 0), 90 if mode == "L" else (90, 90, 90))
    assert decode_image(encoded(picture, transparency=colour))[0, :, 2].tolist() == [255, 90]


def test_a_transparent_level_of_sixteen_bits_becomes_white():
    picture = Image.fromarray(np.array([[257, 514]], dtype=np.uint16))
    payload = encoded(picture, transparency=257)
    assert decode_image(payload)[0, :, 0].tolist() == [255, 2]


@pytest.mark.parametrize(
    ("depth", "levels"),
    [
        (1, [0, 255, 0, 255, 0, 255, 0, 255]),
        (2, [0, 85, 170, 255]),
        (4, [0, 34]),
        (8, [2]),
    ],
)
@pytest.mark.parametrize("transparent", [0, 1, 2])
def test_a_transparent_level_is_in_the_depth_of_the_file(depth, levels, transparent):
    row = {1: 0b01010101, 2: 0b00011011, 4: 0x02, 8: 2}[depth]
    scale = 255 // (2**depth - 1)
    payload = png(len(levels), depth, bytes([row]), [transparent])
    expected = [255 if level == transparent * scale else level for level in levels]
    assert decode_image(payload)[0, :, 0].tolist() == expected
    with Image.open(io.BytesIO(payload)) as picture:
        for _ in range(2):
            assert upright_rgb(picture)[0, :, 0].tolist() == expected


def test_a_transparent_colour_of_sixteen_bits_is_in_the_depth_of_the_file():
    colours = [0x0180, 0x0280, 0x0380], [0x0180, 0x0280, 0x0480], [0x8080, 0x8080, 0x8080]
    row = b"".join(struct.pack(">3H", *colour) for colour in colours)
    payload = png(3, 16, row, colours[0])
    expected = [[255, 255, 255], [1, 2, 4], [128, 128, 128]]
    assert decode_image(payload)[0].tolist() == expected
    with Image.open(io.BytesIO(payload)) as picture:
        for _ in range(2):
            assert upright_rgb(picture)[0].tolist() == expected


@pytest.mark.parametrize("transparency", [None, 1, b"\xff\x00"])
def test_palette(transparency):
    picture = Image.new("P", (2, 1))
    picture.putpalette([200, 10, 20, 30, 40, 50])
    picture.putpixel((1, 0), 1)
    options = {} if transparency is None else {"transparency": transparency}
    second = [30, 40, 50] if transparency is None else [255, 255, 255]
    assert decode_image(encoded(picture, **options))[0].tolist() == [[200, 10, 20], second]


def test_one_bit():
    picture = Image.fromarray(np.array([[True, False]]))
    assert decode_image(encoded(picture))[0].tolist() == [[255] * 3, [0] * 3]


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation(form):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue", "green")]
    options = {"save_all": True, "append_images": frames[1:], "duration": 50}
    options |= {"lossless": True} if form == "WEBP" else {}
    payload = encoded(frames[0], form, **options)
    assert (decode_image(payload) == [255, 0, 0]).all()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_format_gives_what_pillow_gives(form):
    payload = encoded(smooth(), form)
    expected = np.asarray(Image.open(io.BytesIO(payload)).convert("RGB"))
    decoded = decode_image(payload)
    np.testing.assert_array_equal(decoded, expected)
    assert decoded.dtype == np.uint8
    assert decoded.flags.writeable


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 3)])
def test_encode_png_loses_nothing(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    decoded = decode_image(encode_png(pixels))
    np.testing.assert_array_equal(
        decoded, np.broadcast_to(pixels if len(shape) == 3 else pixels[..., None], (3, 5, 3))
    )


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html>404</html>", "its bytes are no image of a known format"),
        (b"\x00" * 1000, "its bytes are no image of a known format"),
    ],
)
def test_what_is_no_image_says_so(payload, reason):
    with pytest.raises(UnreadableImageError) as caught:
        decode_image(payload)
    assert caught.value.reason == reason
    assert str(caught.value) == (
        f"an image cannot be read: {reason}. Replace it by an image that opens, or remove it."
    )
    assert isinstance(caught.value, InputError)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_file_cut_short_is_unreadable(form, share):
    payload = encoded(noise(height=64, width=64), form)
    with pytest.raises(UnreadableImageError):
        decode_image(payload[: int(len(payload) * share)])


@pytest.mark.filterwarnings("ignore")  # Pillow warns of some damage that it survives
@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    form=st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]),
    hits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
)
def test_damage_gives_an_image_or_the_one_exception(form, hits):
    payload = bytearray(encoded(noise(height=12, width=12), form))
    for place, value in hits:
        payload[int(place * min(len(payload), 200))] = value
    try:
        decoded = decode_image(bytes(payload))
    except UnreadableImageError as caught:
        decoded, reason = None, caught.reason
    assert reason if decoded is None else decoded.dtype == np.uint8 and decoded.shape[2] == 3
