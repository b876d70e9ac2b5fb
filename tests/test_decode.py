"""Decoding and fitting images of every kind: the right pixels, or a reason why not."""

import io

import numpy as np
import pytest
from images import encoded, gray_png_of_bits, pixel_bomb, tiff
from PIL import Image, PngImagePlugin

from ganformer_jax.data.decode import decode, no_warnings
from ganformer_jax.data.fit import FILTERS, Geometry, cropped_size, fit
from ganformer_jax.data.sources.source import Unreadable
from ganformer_jax.data.spec import base_grid, image_size
from ganformer_jax.errors import UserError
from ganformer_jax.pixels import on_white

SAME = Geometry(4, 6)
PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3


def pixels_of(stored, geometry=SAME):
    return fit(decode(stored).image, geometry)


@pytest.mark.parametrize(
    "form,options",
    [
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("BMP", {}),
        ("PPM", {}),
    ],
)
def test_lossless_formats_keep_every_pixel(form, options):
    np.testing.assert_array_equal(
        pixels_of(encoded(Image.fromarray(PIXELS), form, **options)), PIXELS
    )


def test_jpeg_is_what_pillow_decodes():
    stored = encoded(Image.fromarray(PIXELS), "JPEG", quality=95)
    expected = np.asarray(Image.open(io.BytesIO(stored)))
    np.testing.assert_array_equal(pixels_of(stored), expected)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_gray_becomes_any_number_of_channels(channels):
    gray = PIXELS[..., 0]
    found = pixels_of(encoded(Image.fromarray(gray)), Geometry(4, 6, channels))
    assert found.shape == (4, 6, channels)
    for channel in range(min(channels, 3)):
        np.testing.assert_array_equal(found[..., channel], gray)
    if channels == 4:
        assert (found[..., 3] == 255).all()


def test_opacity_is_kept_or_laid_on_white():
    rgba = np.concatenate([PIXELS, np.full((4, 6, 1), 255, np.uint8)], -1)
    rgba[0, 0] = (10, 20, 30, 0)
    rgba[0, 1] = (0, 100, 200, 51)  # a fifth
    stored = encoded(Image.fromarray(rgba))
    np.testing.assert_array_equal(pixels_of(stored, Geometry(4, 6, 4)), rgba)
    found = pixels_of(stored)
    np.testing.assert_array_equal(found[0, 0], 255)
    np.testing.assert_array_equal(found[0, 1], [204, 224, 244])
    np.testing.assert_array_equal(found[1:], PIXELS[1:])
    np.testing.assert_array_equal(on_white(rgba), found)


def test_palettes_and_their_transparency():
    image = Image.fromarray(PIXELS).quantize(72)
    np.testing.assert_array_equal(pixels_of(encoded(image)), np.asarray(image.convert("RGB")))
    image.info["transparency"] = int(np.asarray(image)[0, 0])
    stored = encoded(image, transparency=image.info["transparency"])
    np.testing.assert_array_equal(pixels_of(stored)[0, 0], 255)
    assert decode(stored).image.mode == "RGBA"


def test_transparent_colors():
    """PNG's tRNS chunk: one color is clear."""
    key = tuple(map(int, PIXELS[0, 0]))
    found = pixels_of(encoded(Image.fromarray(PIXELS), transparency=key))
    assert (found[0, 0] == 255).all() and (found[1:] == PIXELS[1:]).all()
    found = pixels_of(encoded(Image.fromarray(PIXELS[..., 0]), transparency=0))
    assert (found[0, 0] == 255).all() and (found[1:, :, 0] == PIXELS[1:, :, 0]).all()
    deep = PIXELS[..., 0].astype(np.uint16) << 8
    stored = encoded(Image.fromarray(deep), transparency=int(deep[1, 1]))
    found = pixels_of(stored)
    assert (found[1, 1] == 255).all() and (found[2:, :, 0] == PIXELS[2:, :, 0]).all()
    assert pixels_of(stored, Geometry(4, 6, 4))[1, 1, 3] == 0


def test_portable_graymaps_of_sixteen_bits():
    deep = (PIXELS[..., 0].astype(">u2") << 8) + 5
    stored = b"P5 6 4 65535\n" + deep.astype(">u2").tobytes()
    np.testing.assert_array_equal(pixels_of(stored, Geometry(4, 6, 1))[..., 0], PIXELS[..., 0])


def test_cmyk_becomes_rgb():
    cmyk = Image.fromarray(PIXELS).convert("CMYK")
    np.testing.assert_array_equal(pixels_of(encoded(cmyk, "TIFF")), PIXELS)
    assert decode(encoded(cmyk, "JPEG")).kind == "JPEG CMYK"


def test_sixteen_bits_become_eight_by_their_high_byte():
    deep = (PIXELS[..., 0].astype(np.uint16) << 8) + 77
    for form in ("PNG", "TIFF"):
        found = pixels_of(encoded(Image.fromarray(deep), form), Geometry(4, 6, 1))
        np.testing.assert_array_equal(found[..., 0], PIXELS[..., 0])
    np.testing.assert_array_equal(pixels_of((PIXELS.astype(np.uint16) << 8) + 255), PIXELS)


def test_one_bit_images_and_masks():
    bits = PIXELS[..., 0] > 20
    expected = (bits * 255)[..., None] * [1, 1, 1]
    np.testing.assert_array_equal(pixels_of(encoded(Image.fromarray(bits))), expected)
    np.testing.assert_array_equal(pixels_of(bits), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    upright = Image.fromarray(PIXELS)
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # which Pillow transposition undoes it
    stored = upright
    if orientation > 1:
        inverse = {5: 5, 6: 6, 2: 4, 4: 2}.get(turns[orientation], turns[orientation])
        stored = upright.transpose(Image.Transpose(inverse))
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(pixels_of(encoded(stored, exif=exif.tobytes())), PIXELS)


def test_the_first_frame_of_an_animation():
    frames = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    stored = encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(pixels_of(stored), PIXELS)
    assert decode(stored).notes == ("first of several frames",)


def test_floats_need_a_range():
    values = PIXELS / 255
    with pytest.raises(Unreadable, match="float64 pixels: give .* --value-range"):
        decode(values)
    np.testing.assert_array_equal(fit(decode(values, (0, 1)).image, SAME), PIXELS)
    np.testing.assert_array_equal(fit(decode(values * 2 - 1, (-1, 1)).image, SAME), PIXELS)
    with pytest.raises(Unreadable, match="not finite"):
        decode(np.full((4, 6), np.nan), (0, 1))


LEVELS = np.array([[0, 1, 2, 3], [3, 2, 1, 0]], np.uint8)
SHADES = np.array([[0, 85, 170, 255], [255, 170, 85, 0]], np.uint8)


def gray(stored, value_range=None):
    return np.asarray(decode(stored, value_range).image.convert("L"))


@pytest.mark.parametrize(
    ("stored", "value_range"),
    [
        (b"P5 4 2 3\n" + LEVELS.tobytes(), (0, 3)),
        (b"P5 4 2 4095\n" + (LEVELS * 5).astype(">u2").tobytes(), (0, 15)),
        (b"P2 4 2 1000\n" + " ".join(map(str, LEVELS.ravel() * 9)).encode(), (0, 27)),
        (gray_png_of_bits(LEVELS, 2), (0, 3)),
        (gray_png_of_bits(LEVELS * 2, 4), (0, 6)),
        (gray_png_of_bits(LEVELS * 20, 8), (0, 60)),
        (tiff(3 - LEVELS, photometric=0), (0, 3)),
        (tiff((3 - LEVELS).astype(np.uint16), photometric=0), (0, 3)),
        (tiff((3 - LEVELS).astype(np.float32), photometric=0, sample_format=3), (0, 3)),
        (tiff(LEVELS.astype(np.float32), sample_format=3), (0, 3)),
        (tiff(LEVELS.astype(np.uint32) << 30), (0, 3 << 30)),
        (tiff(LEVELS.astype(np.int32) - 2, sample_format=2), (-2, 1)),
        (tiff(LEVELS.astype(np.int8) - 2, sample_format=2), (-2, 1)),
        (encoded(Image.fromarray(LEVELS * 5).convert("P")), (0, 15)),
        (encoded(Image.fromarray(LEVELS * 5).convert("RGB")), (0, 15)),
        (encoded(Image.fromarray(LEVELS * 5).convert("P"), "GIF"), (0, 15)),
    ],
)
def test_a_range_is_of_the_values_that_a_file_stores(stored, value_range):
    """Pillow stretches few bits to 8, and inverts some of the files where white is zero."""
    found = decode(stored, value_range)
    np.testing.assert_array_equal(gray(stored, value_range), SHADES)
    assert "values scaled by --value-range" in found.notes


@pytest.mark.parametrize(
    "stored",
    [
        b"P5 4 2 3\n" + LEVELS.tobytes(),
        gray_png_of_bits(LEVELS, 2),
        gray_png_of_bits(LEVELS * 5, 4),
        tiff(255 - SHADES, photometric=0),
        tiff((255 - SHADES).astype(np.uint16) * 257, photometric=0),
    ],
)
def test_without_a_range_few_bits_use_all_shades(stored):
    np.testing.assert_array_equal(gray(stored), SHADES)


def test_few_bits_that_cannot_hold_white_are_left_alone():
    np.testing.assert_array_equal(gray(gray_png_of_bits(LEVELS, 2), (0, 255)), SHADES)


def test_values_that_pillow_would_misread_are_refused():
    signed = tiff(LEVELS.astype(np.int8) - 2, sample_format=2)
    with pytest.raises(Unreadable, match="signed 8-bit pixels: give .* --value-range"):
        decode(signed)
    color = np.stack([LEVELS, LEVELS, LEVELS])
    assert decode(tiff(color, photometric=2, planes=2)).kind == "TIFF RGB"
    with pytest.raises(Unreadable, match="16-bit color in separate planes"):
        decode(tiff(color.astype(np.uint16), photometric=2, planes=2))
    deep = np.broadcast_to((LEVELS.astype(">u2") << 10)[..., None], (2, 4, 3))
    stored = b"P6 4 2 4095\n" + deep.tobytes()
    decode(stored)
    with pytest.raises(Unreadable, match="16-bit color, to which --value-range cannot"):
        decode(stored, (0, 4095))


def test_gray_with_opacity_as_an_array():
    found = decode(np.stack([PIXELS[..., 0], np.full((4, 6), 255, np.uint8)], -1))
    np.testing.assert_array_equal(np.asarray(found.image)[..., 0], PIXELS[..., 0])


def text_bomb():
    """A PNG with a compressed text of 100 MB."""
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "a" * 100_000_000, zip=True)
    return encoded(Image.fromarray(PIXELS), pnginfo=info)


@pytest.mark.parametrize(
    "stored,words",
    [
        (b"", "empty file"),
        (b"hello", "not an image"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 50, "not an image|damaged"),
        (encoded(Image.fromarray(PIXELS))[:55], "damaged: "),
        (encoded(Image.fromarray(np.tile(PIXELS, (9, 9, 1))), "JPEG")[:-300], "damaged: .*trunc"),
        (encoded(Image.fromarray(PIXELS), "BMP")[:60], "damaged: "),
        (encoded(Image.fromarray(PIXELS.astype(np.float32)[..., 0]), "TIFF"), "floating-point"),
        (encoded(Image.fromarray(PIXELS.astype(np.int32)[..., 0]), "TIFF"), "32-bit integer"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "not an image"),
        (pixel_bomb(), "more than 128 megapixels"),
        (np.zeros((3, 4, 5), np.uint8), "of shape 3x4x5"),
        (np.zeros((0, 4, 3), np.uint8), "of shape 0x4x3"),
        (np.zeros((4, 4), np.int64), "int64 pixels"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damaged_images_have_a_reason(stored, words):
    with pytest.raises(Unreadable, match=words) as raised:
        decode(stored)
    assert "\n" not in str(raised.value)


def test_a_text_bomb_costs_nothing():
    with pytest.raises(Unreadable, match="damaged"):
        decode(text_bomb())


def test_any_flipped_or_missing_byte_is_an_image_or_a_reason():
    random = np.random.default_rng(0)
    for form in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"):
        whole = encoded(Image.fromarray(PIXELS), form)
        for _ in range(150):
            broken = bytearray(whole)
            broken[random.integers(len(broken))] ^= 1 << random.integers(8)
            cut = bytes(broken[: random.integers(1, len(broken) + 1)])
            for stored in (bytes(broken), cut):
                try:
                    with no_warnings():
                        decoded = decode(stored)
                except Unreadable:
                    continue
                assert decoded.image.mode in ("L", "RGB", "RGBA")


def test_an_animation_cut_anywhere_is_an_image_or_a_reason():
    """Pillow looks for the next frame, and raises errors of its own kinds when that is cut."""
    frames = [Image.fromarray(PIXELS).convert("P"), Image.fromarray(PIXELS[::-1]).convert("P")]
    whole = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    for length in range(len(whole)):
        try:
            decode(whole[:length])
        except Unreadable:
            continue


def test_sixteen_bits_of_either_byte_order_and_sign():
    deep = (PIXELS[..., 0].astype(np.uint16) << 8) + 7
    for order in ("<u2", ">u2"):
        np.testing.assert_array_equal(
            pixels_of(deep.astype(order), Geometry(4, 6, 1))[..., 0], PIXELS[..., 0]
        )
    inverted = encoded(Image.fromarray(deep), "TIFF", tiffinfo={262: 0})
    np.testing.assert_array_equal(
        pixels_of(inverted, Geometry(4, 6, 1))[..., 0], 255 - PIXELS[..., 0]
    )


def test_what_counts_as_enlarged():
    assert Geometry(64, 64).enlarges((64, 16)) and not Geometry(64, 64).enlarges((64, 64))
    assert not Geometry(32, 64).enlarges((64, 40)) and Geometry(32, 64).enlarges((64, 31))
    assert not Geometry(64, 64, fit="pad").enlarges((64, 16))
    assert Geometry(64, 64, fit="pad", ratio=0.5).enlarges((64, 16))


def test_crops_are_centered():
    wide = np.zeros((4, 10, 3), np.uint8)
    wide[:, 3:7] = 255
    assert (pixels_of(wide, Geometry(4, 4)) == 255).all()
    assert cropped_size((480, 320), 0.75) == (427, 320)
    assert cropped_size((256, 341), 188 / 256) == (256, 188)
    assert cropped_size((1, 1), 0.5) == (1, 1)


def test_padding_as_published():
    tall = np.full((8, 16, 3), 200, np.uint8)
    found = pixels_of(tall, Geometry(16, 16, fit="pad", ratio=0.25))
    assert (found[6:10] == 200).all() and (found[:6] == 0).all() and (found[10:] == 0).all()
    whole = pixels_of(tall, Geometry(16, 16, fit="pad"))
    assert (whole[4:12] == 200).all() and (whole[:4] == 0).all()


def test_filters_are_pillows_and_differ():
    big = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    found = {name: pixels_of(big, Geometry(8, 8, filter=name)) for name in FILTERS}
    box = big.reshape(8, 2, 8, 2, 3).mean((1, 3))
    np.testing.assert_allclose(found["box"], box, atol=1)  # Pillow rounds between rows and columns
    assert len({f.tobytes() for f in found.values()}) == 4


def test_one_pixel_becomes_a_plain_image():
    found = pixels_of(np.full((1, 1, 3), 9, np.uint8), Geometry(8, 8))
    assert found.shape == (8, 8, 3) and (found == 9).all()


@pytest.mark.parametrize(
    "size,grid",
    [
        ((256, 256), (4, 4)),
        ((32, 64), (4, 8)),
        ((192, 256), (3, 4)),
        ((64, 32), (8, 4)),
        ((8, 8), (4, 4)),
        ((96, 96), (3, 3)),
        ((160, 160), (5, 5)),
        ((7, 8), None),
        ((188, 256), None),
    ],
)
def test_base_grids(size, grid):
    assert base_grid(size) == grid


def test_sizes_near_a_ratio():
    assert image_size(256, 0.75) == (192, 256)
    assert image_size(256, 188 / 256) == (192, 256)
    assert image_size(64, 0.5) == (32, 64)
    assert image_size(64, 2.0) == (64, 32)
    assert image_size(128, 1.0) == (128, 128)
    with pytest.raises(UserError, match="--resolution 100"):
        image_size(100, 1.0)
