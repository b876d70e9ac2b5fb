"""Metadata of images: orientation, however damaged the rest of it is, and transparent colors."""

import struct

import numpy as np
import pytest
from images import color_png_of_16_bits, encoded, gray_png_of_bits
from PIL import Image

from ganformer_jax.data.decode import decode

PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3
ROTATED = PIXELS[::-1].transpose(1, 0, 2)  # of orientation 6
NOTE = "rotated to EXIF orientation"


def exif_with(tag: int, kind: int) -> bytes:
    """Return EXIF data with orientation 6 and another tag, of a type that it should not have."""
    tags = [struct.pack("<HHI4s", 0x0112, 3, 1, b"\6\0\0\0")]
    tags += [struct.pack("<HHI4s", tag, kind, 1, struct.pack("<I", 38))]  # after the tags
    table = struct.pack("<H", 2) + b"".join(sorted(tags)) + bytes(4)
    return b"Exif\0\0II*\0\x08\0\0\0" + table + b"\0\0\x80\x3f" * 4


@pytest.mark.parametrize("tag,kind", [(0x0100, 7), (0x0128, 13), (0x0131, 10), (0x0132, 12)])
@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_orientation_is_applied_beside_damaged_tags(form, tag, kind):
    options = {"lossless": True} if form == "WEBP" else {}
    stored = encoded(Image.fromarray(PIXELS), form, exif=exif_with(tag, kind), **options)
    decoded = decode(stored)
    np.testing.assert_array_equal(np.asarray(decoded.image), ROTATED)
    assert decoded.notes == (NOTE,)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG"])
def test_images_are_read_without_their_damaged_metadata(form):
    stored = encoded(Image.fromarray(PIXELS), form, exif=b"no EXIF data at all")
    decoded = decode(stored)
    assert decoded.image.size == (6, 4) and not decoded.notes


def test_orientations_that_do_not_exist_are_no_rotation():
    exif = Image.Exif()
    exif[0x0112] = 99
    decoded = decode(encoded(Image.fromarray(PIXELS), exif=exif.tobytes()))
    np.testing.assert_array_equal(np.asarray(decoded.image), PIXELS)
    assert not decoded.notes


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_one_gray_of_few_bits_is_transparent(bits):
    levels = np.arange(1 << bits)[None] if bits < 8 else np.arange(256)[None]
    for key in {0, 1, len(levels[0]) - 1}:
        image = decode(gray_png_of_bits(levels, bits, key)).image
        opacity = np.asarray(image)[0, :, 3]
        np.testing.assert_array_equal(opacity == 0, levels[0] == key)


def test_color_of_16_bits_is_opaque():
    """Pillow returns high bytes, and compares them with the low bytes of the transparent color."""
    pixels = np.array([[[0x1234] * 3, [0x3412] * 3]])
    image = decode(color_png_of_16_bits(pixels, (0x1234, 0x1234, 0x1234))).image
    np.testing.assert_array_equal(np.asarray(image), [[[0x12] * 3, [0x34] * 3]])
