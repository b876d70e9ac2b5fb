"""Cropping, padding and resizing of images to one size and number of channels."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's, by number of channels
FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}


Fit = Literal["crop", "pad"]


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Size and channels of a dataset's images, and how they are resized, which FID depends on.

    Attributes:
        height: Height in pixels.
        width: Width in pixels.
        channels: 1 for gray, 3 for color, 4 for color and opacity; 2, and 5 or more, for arrays
            whose channels have no such meaning.
        filter: Resampling filter, antialiased, as implemented by Pillow.
        fit: "crop" cuts out the largest centered rectangle with the proportions of height and
            width; "pad" crops to `ratio` and pads the result to a black square, as the published
            code prepares CLEVR.
        ratio: Height / width to crop to before padding; None for no crop.
    """

    height: int
    width: int
    channels: int = 3
    filter: Literal["lanczos", "box", "bicubic", "bilinear"] = "lanczos"
    fit: Fit = "crop"
    ratio: float | None = None

    @property
    def crop_ratio(self) -> float | None:
        """Height / width that images are cropped to; None if they are not cropped."""
        return self.ratio if self.fit == "pad" else self.height / self.width

    def enlarges(self, size: tuple[int, int]) -> bool:
        """Return whether a cropped image of this width and height has to be enlarged."""
        kept = size if self.crop_ratio is None else cropped_size(size, self.crop_ratio)
        return max(kept) < max(self.height, self.width)


def fit_labels(labels_HxW: UInt8[np.ndarray, "h w"], geometry: Geometry) -> np.ndarray:
    """Crop or pad labels, then resize by nearest neighbor to uint8 [H, W, 1]; padding is 0."""
    gray = dataclasses.replace(geometry, channels=1)
    return fit(Image.fromarray(labels_HxW), gray, Image.Resampling.NEAREST)


def fit(
    image: Image.Image, geometry: Geometry, resampling: Image.Resampling | None = None
) -> UInt8[np.ndarray, "h w c"]:
    """Crop or pad, then resize an image of mode L, RGB or RGBA.

    An image that has the right size after cropping keeps its pixels.

    Args:
        image: The image.
        geometry: Size, channels and filter of the result.
        resampling: Filter to use instead of the geometry's.
    """
    image = with_channels(image, geometry.channels)
    if geometry.crop_ratio is not None:
        image = _crop(image, geometry.crop_ratio)
    if geometry.fit == "pad":
        image = _pad_to_square(image)
    size = geometry.width, geometry.height
    if image.size != size:
        image = image.resize(size, FILTERS[geometry.filter] if resampling is None else resampling)
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def with_channels(image: Image.Image, channels: int) -> Image.Image:
    """Convert an image to 1, 3 or 4 channels; opacity is composited on white."""
    mode = MODES[channels]
    if image.mode == "RGBA" and channels != 4:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def cropped_size(size: tuple[int, int], ratio: float) -> tuple[int, int]:
    """Return the width and height of the largest crop with height / width = ratio, at least 1x1."""
    width, height = size
    cropped = min(width, height / ratio)
    return max(1, round(cropped)), max(1, round(cropped * ratio))


def _crop(image: Image.Image, ratio: float) -> Image.Image:
    width, height = cropped_size(image.size, ratio)
    if (width, height) == image.size:
        return image
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _pad_to_square(image: Image.Image) -> Image.Image:
    if image.width == image.height:
        return image
    side = max(image.size)
    square = Image.new(image.mode, (side, side))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square
