"""Pictures of any kind to uint8 pixels of one size and number of channels."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import warnings
from collections.abc import Iterator
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from ganformer_jax.data.sources.source import Unreadable

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
"""What is decoded. Formats that run programs or load other files (EPS, ...) are not."""
MAX_PIXELS = 1 << 27
"""Largest picture that is decoded, 134 million pixels (0.5 GB)."""
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}
_ORIENTATION = 0x0112  # the tag of EXIF
_PHOTOMETRIC = 0x0106  # of TIFF: 0 where white is zero


@dataclasses.dataclass(frozen=True)
class Geometry:
    """What pictures become; it decides the pixels, and so FID.

    Attributes:
        height: In pixels.
        width: In pixels.
        channels: 1 gray, 3 color, 4 color and opacity.
        filter: Of resizing, antialiased, as Pillow does it.
        fit: "crop" cuts out the largest centered rectangle of this shape; "pad" cuts to `ratio`
            and lays the result on a black square, as the published code prepares CLEVR.
        ratio: Height / width to cut to before padding; None to keep what there is.
    """

    height: int
    width: int
    channels: int = 3
    filter: Literal["lanczos", "box", "bicubic", "bilinear"] = "lanczos"
    fit: Literal["crop", "pad"] = "crop"
    ratio: float | None = None

    @property
    def cut(self) -> float | None:
        """Height / width of what is cut out of a picture; None if nothing is cut off."""
        return self.ratio if self.fit == "pad" else self.height / self.width

    def enlarges(self, size: tuple[int, int]) -> bool:
        """Whether a picture of this width and height, once cut, has too few pixels."""
        kept = size if self.cut is None else cropped_size(size, self.cut)
        return max(kept) < max(self.height, self.width)


@dataclasses.dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        image: Upright, 8 bits a channel: gray (L), RGB or RGBA.
        kind: Format and mode as it was stored, for the report: "PNG I;16".
        notes: What was done to it that somebody may want to know.
    """

    image: Image.Image
    kind: str
    notes: tuple[str, ...] = ()


def decode(stored: bytes | np.ndarray, value_range: tuple[float, float] | None = None) -> Picture:
    """Decodes an encoded picture, or takes pixels.

    16 bits become 8 by their high byte; palettes and CMYK become RGB; what EXIF turns is turned.

    Args:
        stored: An encoded picture; or pixels [H, W] or [H, W, C], C of 1, 2 (gray and opacity), 3
            or 4: uint8, uint16, bool, or numbers in `value_range`.
        value_range: What becomes 0 and 255, for pixels of other types.

    Raises:
        Unreadable: With the reason, for whatever is not a whole picture.
    """
    return _of_bytes(stored) if isinstance(stored, bytes) else _of_pixels(stored, value_range)


def fit(picture: Picture, geometry: Geometry) -> UInt8[np.ndarray, "height width channels"]:
    """Brings a picture to its size and channels; what has this size already keeps its pixels."""
    image = with_channels(picture.image, geometry.channels)
    size = geometry.width, geometry.height
    if geometry.cut is not None:
        image = _crop(image, geometry.cut)
    if geometry.fit == "pad":
        image = _on_square(image)
    if image.size != size:
        image = image.resize(size, FILTERS[geometry.filter])
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


@contextlib.contextmanager
def no_warnings() -> Iterator[None]:
    """Silences Pillow on damaged metadata and large pictures; for the main thread to enter."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def cropped_size(size: tuple[int, int], ratio: float) -> tuple[int, int]:
    """Width and height of the largest rectangle of height / width = ratio, at least 1x1."""
    width, height = size
    cropped = min(width, height / ratio)
    return max(1, round(cropped)), max(1, round(cropped * ratio))


def _of_bytes(stored: bytes) -> Picture:
    Image.init()  # or formats that Pillow loads late are not known by name
    try:
        with Image.open(io.BytesIO(stored), formats=FORMATS) as image:
            _check_size(image.size)
            return _upright(image)
    except UnidentifiedImageError as error:
        raise Unreadable("not a picture" if stored else "empty file") from error
    except Image.DecompressionBombError as error:
        raise Unreadable(f"more than {MAX_PIXELS >> 20} megapixels") from error
    except (MemoryError, Unreadable):
        raise
    except Exception as error:  # of any kind: Pillow's readers raise what they meet
        raise Unreadable(f"damaged: {_reason(error)}") from error


def _upright(image: Image.Image) -> Picture:
    kind, notes = f"{image.format} {image.mode}", []
    if getattr(image, "n_frames", 1) > 1:
        notes.append("first of several frames")
    before = image.getexif().get(_ORIENTATION, 1)  # Pillow turns TIFF by itself when it loads
    image.load()
    if {before, image.getexif().get(_ORIENTATION, 1)} - {0, 1}:
        notes.append("turned as EXIF says")
    inverted = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0 and image.mode.startswith("I;16")
    upright = _eight_bits(ImageOps.exif_transpose(image), image.format)
    upright = ImageOps.invert(upright) if inverted else upright  # other modes Pillow inverts itself
    return Picture(upright, kind, tuple(notes))


def _eight_bits(image: Image.Image, form: str | None) -> Image.Image:
    """L, RGB or RGBA."""
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
    transparent = key is not None or image.mode in ("LA", "La", "PA", "RGBa")
    if image.mode in MODES.values() and not transparent:
        return image
    if image.mode == "1" and not transparent:
        return image.convert("L")
    return image.convert("RGBA" if transparent else "RGB")


def _of_pixels(pixels: np.ndarray, value_range: tuple[float, float] | None) -> Picture:
    kind = f"{pixels.dtype} array"
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[-1] not in (1, 2, 3, 4) or not pixels.size:
        raise Unreadable(f"an array of shape {'x'.join(map(str, pixels.shape))} is no picture")
    _check_size((pixels.shape[1], pixels.shape[0]))
    values = np.ascontiguousarray(_to_uint8(pixels, value_range))
    if values.shape[-1] == 2:
        return Picture(Image.fromarray(values, "LA").convert("RGBA"), kind)
    return Picture(Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values), kind)


def _to_uint8(pixels: np.ndarray, value_range: tuple[float, float] | None) -> np.ndarray:
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


def with_channels(image: Image.Image, channels: int) -> Image.Image:
    """Convert an image to 1, 3 or 4 channels; opacity is laid on white where there is no fourth."""
    mode = MODES[channels]
    if image.mode == "RGBA" and channels != 4:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _crop(image: Image.Image, ratio: float) -> Image.Image:
    width, height = cropped_size(image.size, ratio)
    if (width, height) == image.size:
        return image
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _on_square(image: Image.Image) -> Image.Image:
    if image.width == image.height:
        return image
    side = max(image.size)
    square = Image.new(image.mode, (side, side))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def _check_size(size: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise Unreadable(f"more than {MAX_PIXELS >> 20} megapixels")


def _reason(error: BaseException) -> str:
    words = str(error).splitlines()
    return words[0][:100] if words and words[0] else type(error).__name__
