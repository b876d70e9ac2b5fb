"""Encoded images and pixels of any kind to upright 8-bit images."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ganformer_jax.data.sources.source import Unreadable
from ganformer_jax.errors import one_line

# Formats that run programs or load other files (EPS, ...) are not decoded.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
MAX_PIXELS = 1 << 27  # of the largest image that is decoded, 134 million (0.5 GB)
_ORIENTATION = 0x0112  # tag of EXIF
_PHOTOMETRIC = 0x0106  # tag of TIFF: 0 where white is zero


@dataclasses.dataclass(frozen=True)
class DecodedImage:
    """A decoded image, upright, with 8 bits a channel: gray (L), RGB or RGBA."""

    image: Image.Image
    kind: str  # stored format and mode, for the report: "PNG I;16"
    notes: tuple[str, ...] = ()  # changes that the report mentions


def decode(
    stored: bytes | np.ndarray, value_range: tuple[float, float] | None = None
) -> DecodedImage:
    """Decode an encoded image, or convert pixels.

    16 bits become 8 by their high byte; palettes and CMYK become RGB; EXIF orientation is applied.

    Args:
        stored: An encoded image; or pixels [H, W] or [H, W, C], C of 1, 2 (gray and opacity), 3
            or 4: uint8, uint16, bool, or numbers in `value_range`.
        value_range: Numbers that become 0 and 255, for pixels of other types.

    Raises:
        Unreadable: If it is not a whole image; the message says why.
    """
    if isinstance(stored, bytes):
        return _decode_bytes(stored)
    return _convert_pixels(stored, value_range)


@contextlib.contextmanager
def no_warnings() -> Iterator[None]:
    """Silence Pillow on damaged metadata and large images; to be entered by the main thread."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _decode_bytes(stored: bytes) -> DecodedImage:
    Image.init()  # Pillow loads some formats late, and does not know their names before
    try:
        with Image.open(io.BytesIO(stored), formats=FORMATS) as image:
            _check_size(*image.size)
            return _upright(image)
    except UnidentifiedImageError as error:
        raise Unreadable("not an image" if stored else "empty file") from error
    except Image.DecompressionBombError as error:
        raise Unreadable(f"more than {MAX_PIXELS >> 20} megapixels") from error
    except (MemoryError, Unreadable):
        raise
    except Exception as error:  # Pillow's readers raise errors of many types
        raise Unreadable(f"damaged: {one_line(error, 100)}") from error


def _upright(image: Image.Image) -> DecodedImage:
    kind, notes = f"{image.format} {image.mode}", []
    if getattr(image, "n_frames", 1) > 1:
        notes.append("first of several frames")
    before = image.getexif().get(_ORIENTATION, 1)  # Pillow rotates TIFF itself when it loads
    image.load()
    if {before, image.getexif().get(_ORIENTATION, 1)} - {0, 1}:
        notes.append("rotated to EXIF orientation")
    inverted = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0 and image.mode.startswith("I;16")
    upright = _eight_bits(ImageOps.exif_transpose(image), image.format)
    upright = ImageOps.invert(upright) if inverted else upright  # Pillow inverts other modes itself
    return DecodedImage(upright, kind, tuple(notes))


def _eight_bits(image: Image.Image, form: str | None) -> Image.Image:
    """Convert an image to mode L, RGB or RGBA."""
    key = image.info.get("transparency")
    if image.mode.startswith("I;16") or (image.mode == "I" and form == "PPM"):
        deep = np.asarray(image).astype(np.uint16)
        gray = Image.fromarray((deep >> 8).astype(np.uint8))
        if key is None:
            return gray
        opacity = Image.fromarray(np.where(deep == key, 0, 255).astype(np.uint8))
        return Image.merge("LA", (gray, opacity)).convert("RGBA")
    if image.mode in ("I", "F"):
        raise Unreadable(f"{'32-bit integer' if image.mode == 'I' else 'floating-point'} pixels")
    if key is not None or image.mode in ("LA", "La", "PA", "RGBa"):
        return image.convert("RGBA")
    if image.mode in ("L", "RGB", "RGBA"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _convert_pixels(pixels: np.ndarray, value_range: tuple[float, float] | None) -> DecodedImage:
    kind = f"{pixels.dtype} array"
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[-1] not in (1, 2, 3, 4) or not pixels.size:
        raise Unreadable(f"an array of shape {'x'.join(map(str, pixels.shape))} is not an image")
    _check_size(*pixels.shape[:2])
    values = np.ascontiguousarray(_scaled_to_uint8(pixels, value_range))
    if values.shape[-1] == 2:
        return DecodedImage(Image.fromarray(values, "LA").convert("RGBA"), kind)
    return DecodedImage(Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values), kind)


def _scaled_to_uint8(pixels: np.ndarray, value_range: tuple[float, float] | None) -> np.ndarray:
    if value_range is not None:
        low, high = value_range
        if not np.isfinite(pixels).all():
            raise Unreadable("pixels that are not finite")
        scaled = (pixels.astype(np.float64) - low) * (255 / (high - low))
        return np.clip(np.round(scaled), 0, 255).astype(np.uint8)
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize == 2:  # of either byte order
        return (pixels >> 8).astype(np.uint8)
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * 255
    raise Unreadable(f"{pixels.dtype} pixels: say what is black and white with --value-range")


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise Unreadable(f"more than {MAX_PIXELS >> 20} megapixels")
