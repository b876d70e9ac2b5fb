"""Locality of an edit: change inside a region of an image, compared with change outside it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8


class EditChanges(NamedTuple):
    """Mean change of each image, in levels of 0 to 255.

    NaN if the region is empty or the whole image.

    Attributes:
        inside: Change inside the region.
        outside: Change in the rest of the image.
        random: Change inside a region of the same shape at a random position.
    """

    inside: Float[np.ndarray, " m"]
    outside: Float[np.ndarray, " m"]
    random: Float[np.ndarray, " m"]


def pixel_change(
    before_MxHxWxC: UInt8[np.ndarray, "m h w c"], after_MxHxWxC: UInt8[np.ndarray, "m h w c"]
) -> Float[np.ndarray, "m h w"]:
    """Return the absolute difference of each pixel, averaged over channels, in levels of 0 to 255.

    Raises:
        ValueError: If the shapes differ, or images are of another rank.
        TypeError: If images are not uint8.
    """
    for images in (before_MxHxWxC, after_MxHxWxC):
        if images.dtype != np.uint8:
            raise TypeError(f"images must be uint8, not {images.dtype}: see pixels.to_uint8")
    if before_MxHxWxC.shape != after_MxHxWxC.shape or before_MxHxWxC.ndim != 4:
        shapes = f"{list(before_MxHxWxC.shape)} and {list(after_MxHxWxC.shape)}"
        raise ValueError(f"images before and after an edit are of shapes {shapes}")
    return np.abs(before_MxHxWxC.astype(np.float32) - after_MxHxWxC).mean(-1)


def edit_changes(
    change_MxHxW: Float[np.ndarray, "m h w"],
    regions_MxHxW: Bool[np.ndarray, "m h w"],
    seed: int = 0,
    first: int = 0,
) -> EditChanges:
    """Compare the change inside and outside a region of each image.

    The random region is the region itself, moved by random numbers of rows and columns with
    wraparound. It has the same size and nearly the same outline, so its change shows what to expect
    without any relation between edit and region.

    Args:
        change_MxHxW: Result of `pixel_change`.
        regions_MxHxW: Pixels of the regions.
        seed: Seed of the random regions; that of image i depends on the seed and i.
        first: Number of the first image, for a batch of a larger set.

    Raises:
        ValueError: If the shapes differ.
        TypeError: If regions are not bool.
    """
    if regions_MxHxW.dtype != bool:
        raise TypeError(f"regions are {regions_MxHxW.dtype}, not bool")
    if change_MxHxW.shape != regions_MxHxW.shape:
        shapes = f"{list(change_MxHxW.shape)} and {list(regions_MxHxW.shape)}"
        raise ValueError(f"changes and regions are of shapes {shapes}")
    count, height, width = regions_MxHxW.shape
    found = np.full((3, count), np.nan)
    for index in range(count):
        change, region = change_MxHxW[index], regions_MxHxW[index]
        if not region.any() or region.all():
            continue
        random = np.random.default_rng((seed, first + index))
        shift = int(random.integers(height)), int(random.integers(width))
        moved = np.roll(region, shift, (0, 1))
        found[:, index] = change[region].mean(), change[~region].mean(), change[moved].mean()
    return EditChanges(*found)
