"""Decoding of encoded images, and of arrays of any type, to upright 8-bit images."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ganformer_jax.data.orientation import SIDEWAYS, orientation_of, turned_upright
from ganformer_jax.data.sources.source import Unreadable
from ganformer_jax.data.stored_values import Storage, storage_of
from ganformer_jax.errors import one_line

# Not among them: formats that run programs or load other files, such as EPS.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
MAX_PIXELS = 1 << 27  # in the largest image that is decoded: 134 million (0.5 GB)
SCALED = "values scaled by --value-range"
_LARGEST = {"uint8": 255, "bool": 1}  # in arrays of at most 8 bits


@dataclasses.dataclass(frozen=True)
class DecodedImage:
    """A decoded image, upright, with 8 bits a channel: gray (L), RGB or RGBA."""

    image: Image.Image
    kind: str  # stored format and mode, for the report: "PNG I;16"
    notes: tuple[str, ...] = ()  # changes to mention in the report
    deep_range: tuple[int, int] | None = None  # smallest and largest value, if stored in 16 bits


def decode(
    stored: bytes | np.ndarray, value_range: tuple[float, float] | None = None
) -> DecodedImage:
    """Decode an encoded image, or convert pixels.

    16-bit values are reduced to their high byte, unless `value_range` gives the values of black and
    white. Palettes and CMYK become RGB. The EXIF orientation is applied.

    Args:
        stored: An encoded image; or an array [H, W] or [H, W, C] with C = 1, 2 (gray and opacity),
            3 or 4, of type uint8, uint16 or bool, or of any numeric type with `value_range`.
        value_range: Numbers that become 0 and 255. It applies to arrays and to the gray and color
            values of encoded images, except those of 8 or fewer bits that cannot store the second
            number. In images with a palette it applies to the colors.

    Raises:
        Unreadable: If it is not a complete image; the message says why.
    """
    if isinstance(stored, bytes):
        return _decode_bytes(stored, value_range)
    return _convert_pixels(stored, value_range)


def stored_size(stored: bytes | np.ndarray) -> tuple[int, int] | None:
    """Return the width and height of an image, upright, from its shape or its first bytes.

    Args:
        stored: As in `decode`, or only the first bytes of an encoded image.

    Returns:
        None if these bytes are not enough.
    """
    if isinstance(stored, np.ndarray):
        return (stored.shape[1], stored.shape[0]) if stored.ndim in (2, 3) else None
    Image.init()
    try:
        with Image.open(io.BytesIO(stored), formats=FORMATS) as image:
            turned = orientation_of(image) in SIDEWAYS
            is_upright = image.format == "TIFF" or not turned  # Pillow rotates TIFF itself
            width, height = image.size
            return (width, height) if is_upright else (height, width)
    except Exception:  # Pillow's readers raise errors of many types
        return None


@contextlib.contextmanager
def no_warnings() -> Iterator[None]:
    """Silence Pillow's warnings about damaged metadata and large images.

    The main thread must enter it, as warning filters belong to the process.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


@contextlib.contextmanager
def opened(stored: bytes) -> Iterator[Image.Image]:
    """Open an encoded image; raise Unreadable, also for errors of Pillow while it is open."""
    Image.init()  # registers all formats, some of which Pillow otherwise registers on demand
    try:
        with Image.open(io.BytesIO(stored), formats=FORMATS) as image:
            _check_size(*image.size)
            yield image
    except UnidentifiedImageError as error:
        raise Unreadable("not an image" if stored else "empty file") from error
    except Image.DecompressionBombError as error:
        raise Unreadable(f"more than {MAX_PIXELS >> 20} megapixels") from error
    except (MemoryError, Unreadable):
        raise
    except Exception as error:  # Pillow's readers raise errors of many types
        raise Unreadable(f"damaged: {one_line(error, 100)}") from error


def _decode_bytes(stored: bytes, value_range: tuple[float, float] | None) -> DecodedImage:
    with opened(stored) as image:
        return _upright(image, value_range)


def _upright(image: Image.Image, value_range: tuple[float, float] | None) -> DecodedImage:
    kind, notes = f"{image.format} {image.mode}", []
    if getattr(image, "n_frames", 1) > 1:
        notes.append("first of several frames")
    storage = storage_of(image)
    if storage.is_deep_color and value_range is not None:
        raise Unreadable(
            "16-bit color, to which --value-range cannot be applied: save it with 8 bits or as gray"
        )
    before = orientation_of(image)  # Pillow rotates TIFF itself when it loads
    image.load()
    if {before, orientation_of(image)} != {1}:
        notes.append("rotated to EXIF orientation")
    storage.correct_transparent_color(image)
    upright = turned_upright(image)
    upright, deep_range, scaled = _converted(upright, image.format, storage, value_range)
    if scaled:
        notes.append(SCALED)
    if storage.white_is_zero and (scaled or not storage.read_inverted):
        upright = ImageOps.invert(upright)
    return DecodedImage(upright, kind, tuple(notes), deep_range)


def _converted(
    image: Image.Image,
    form: str | None,
    storage: Storage,
    value_range: tuple[float, float] | None,
) -> tuple[Image.Image, tuple[int, int] | None, bool]:
    """Return an image of mode L, RGB or RGBA, its range if it has 16 bits, and if it was scaled."""
    deep_range = None
    if image.mode in ("I", "F") or image.mode.startswith("I;16") or storage.is_signed:
        if _has_16_bits(image, form):
            values = np.asarray(image)
            deep_range = int(values.min()), int(values.max())
        return _from_values(image, form, storage, value_range), deep_range, value_range is not None
    image = _eight_bits(image)
    scaled = value_range is not None and value_range[1] <= storage.largest
    if storage.is_deep_color:  # Pillow reads the high bytes
        values = np.asarray(image)[..., :3]
        deep_range = int(values.min()) << 8, int(values.max()) << 8 | 255
    return _scaled(image, storage, value_range) if scaled else image, deep_range, scaled


def _has_16_bits(image: Image.Image, form: str | None) -> bool:
    return image.mode.startswith("I;16") or (image.mode == "I" and form == "PPM")


def _from_values(
    image: Image.Image,
    form: str | None,
    storage: Storage,
    value_range: tuple[float, float] | None,
) -> Image.Image:
    """Convert a gray image of signed, deep, or floating-point values to mode L or RGBA."""
    if value_range is None and not _has_16_bits(image, form):
        kinds = {"L": "signed 8-bit", "I": "32-bit integer", "F": "floating-point"}
        kind = kinds[image.mode]
        raise Unreadable(f"{kind} pixels: give the values of black and white with --value-range")
    values = np.asarray(image)
    deep = values.astype(np.uint16) if value_range is None else storage.values(image)
    gray = Image.fromarray(_scaled_to_uint8(deep, value_range))
    key = image.info.get("transparency")
    if key is None:
        return gray
    opacity = Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))
    return Image.merge("LA", (gray, opacity)).convert("RGBA")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Convert an image of at most 8 bits per channel to mode L, RGB or RGBA."""
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBa"):
        return image.convert("RGBA")
    if image.mode in ("L", "RGB", "RGBA"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _scaled(
    image: Image.Image, storage: Storage, value_range: tuple[float, float] | None
) -> Image.Image:
    """Scale the values of an image of mode L, RGB or RGBA, without its opacity."""
    scaled = _scaled_to_uint8(storage.values(image), value_range)
    if image.mode == "RGBA":
        scaled[..., 3] = np.asarray(image)[..., 3]
    return Image.fromarray(scaled)


def _convert_pixels(pixels: np.ndarray, value_range: tuple[float, float] | None) -> DecodedImage:
    kind = f"{pixels.dtype} array"
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[-1] not in (1, 2, 3, 4) or not pixels.size:
        raise Unreadable(f"an array of shape {'x'.join(map(str, pixels.shape))} is not an image")
    _check_size(*pixels.shape[:2])
    if value_range is not None and value_range[1] > _LARGEST.get(pixels.dtype.name, math.inf):
        value_range = None
    values = np.ascontiguousarray(_scaled_to_uint8(pixels, value_range))
    deep = pixels.dtype.kind == "u" and pixels.dtype.itemsize == 2
    deep_range = (int(pixels.min()), int(pixels.max())) if deep else None
    if values.shape[-1] == 2:
        image = Image.fromarray(values, "LA").convert("RGBA")
    else:
        image = Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values)
    notes = () if value_range is None else (SCALED,)
    return DecodedImage(image, kind, notes, deep_range)


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
    raise Unreadable(
        f"{pixels.dtype} pixels: give the values of black and white with --value-range"
    )


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise Unreadable(f"more than {MAX_PIXELS >> 20} megapixels")
