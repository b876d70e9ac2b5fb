"""Uncompressed PNGs: every reader reads them, damage shows, and foreign files are left alone."""

import io

import numpy as np
import pytest
from PIL import Image

from ganformer_jax.data.png import decode_stored, encode_stored
from ganformer_jax.errors import UserError

SHAPES = [(1, 1, 3), (5, 3, 1), (7, 11, 4), (256, 256, 3), (2, 30_000, 3)]


def random_pixels(shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def saved(pixels, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, **{"format": "PNG", **options})
    return file.getvalue()


@pytest.mark.parametrize("shape", SHAPES)
def test_pixels_come_back_here_and_in_pillow(shape):
    pixels = random_pixels(shape)
    encoded = encode_stored(pixels)
    decoded = decode_stored(encoded)
    assert decoded is not None and decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, pixels)
    with Image.open(io.BytesIO(encoded)) as image:
        np.testing.assert_array_equal(np.asarray(image).reshape(shape), pixels)
    assert len(encoded) < pixels.size * 1.001 + shape[0] + 100


def test_no_flipped_bit_changes_an_image():
    """It is found, or leaves the pixels as they were, or makes the file another kind of PNG."""
    pixels = random_pixels((6, 5, 3))
    encoded = encode_stored(pixels)
    found = 0
    for position in range(len(encoded) * 8):
        damaged = bytearray(encoded)
        damaged[position // 8] ^= 1 << position % 8
        try:
            decoded = decode_stored(bytes(damaged))
        except UserError as error:
            assert "damaged" in str(error)
            found += 1
            continue
        if decoded is not None:
            np.testing.assert_array_equal(decoded, pixels)
    assert found >= 6 * 16 * 8, "each bit of the rows at least"


@pytest.mark.parametrize("size", [10, 50, 100, -1])
def test_a_cut_off_file_is_not_decoded(size):
    assert decode_stored(encode_stored(random_pixels((9, 9, 3)))[:size]) is None


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compress_level": 3},
        {"compress_level": 0},  # stored, but Pillow filters the rows
        {"compress_level": 0, "dpi": (72, 72)},
        {"format": "JPEG"},
        {"format": "BMP"},
    ],
)
def test_foreign_files_are_left_to_pillow(options):
    pixels = np.arange(48 * 48 * 3, dtype=np.uint32).reshape(48, 48, 3).astype(np.uint8)
    assert decode_stored(saved(pixels, **options)) is None


def test_pixels_without_such_a_png_are_refused():
    for pixels in (
        np.zeros((2, 2, 3), np.float32),
        np.zeros((2, 2, 2), np.uint8),
        np.zeros((0, 2, 3), np.uint8),
    ):
        with pytest.raises(ValueError, match="cannot encode pixels"):
            encode_stored(pixels)
