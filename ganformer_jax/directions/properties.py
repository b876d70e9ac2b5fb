"""Properties of a region of an image: its position, size and color."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8

PLACE = ("row", "column", "area")


def property_names(channels: int) -> tuple[str, ...]:
    """Return the names of the properties, which depend on the number of channels.

    "row" and "column" of the centroid, in fractions of the height and the width from the top left;
    "area", as a fraction of the image; and the mean color in levels of 0 to 255, "gray" or
    "red", "green" and "blue", of the first channels.
    """
    return (*PLACE, *color_names(channels))


def color_names(channels: int) -> tuple[str, ...]:
    """Return the colors among the properties."""
    return ("gray",) if channels == 1 else ("red", "green", "blue")[:channels]


def region_properties(
    images_MxHxWxC: UInt8[np.ndarray, "m h w c"], regions_MxHxW: Bool[np.ndarray, "m h w"]
) -> Float[np.ndarray, "m a"]:
    """Return the properties of a region of each image, by `property_names`; NaN without a region.

    Args:
        images_MxHxWxC: uint8 images.
        regions_MxHxW: Pixels of the region.

    Raises:
        ValueError: If the shapes differ.
        TypeError: If images are not uint8 or regions not bool.
    """
    if images_MxHxWxC.dtype != np.uint8:
        raise TypeError(f"images must be uint8, not {images_MxHxWxC.dtype}: see pixels.to_uint8")
    if regions_MxHxW.dtype != bool:
        raise TypeError(f"regions must be bool, not {regions_MxHxW.dtype}")
    count, height, width, channels = images_MxHxWxC.shape
    if regions_MxHxW.shape != (count, height, width):
        shapes = f"{list(images_MxHxWxC.shape)} and {list(regions_MxHxW.shape)}"
        raise ValueError(f"images and regions are of shapes {shapes}")
    inside = regions_MxHxW.astype(np.float64)
    pixels_M = inside.sum((1, 2))
    total_M = np.where(pixels_M > 0, pixels_M, np.nan)
    rows = inside.sum(2) @ (np.arange(height) + 0.5) / total_M / height
    columns = inside.sum(1) @ (np.arange(width) + 0.5) / total_M / width
    shown = images_MxHxWxC[..., : len(color_names(channels))]
    colors_MxC = np.einsum("mhwc,mhw->mc", shown.astype(np.float64), inside) / total_M[:, None]
    place_MxA = np.stack([rows, columns, total_M / (height * width)], 1)
    return np.concatenate([place_MxA, colors_MxC], 1)
