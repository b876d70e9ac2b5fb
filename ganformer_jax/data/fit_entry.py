"""Conversion of an entry of a source to pixels of a dataset's size and number of channels.

Images of 1, 3 and 4 channels are gray, color, and color with opacity. Arrays of 2, or of 5 or more
channels keep them; each is converted like a gray image.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from jaxtyping import UInt8

from ganformer_jax.data.decode import DecodedImage, decode
from ganformer_jax.data.depth import joined_range
from ganformer_jax.data.fit import MODES, Geometry, fit
from ganformer_jax.data.sources.source import Unreadable


@dataclasses.dataclass(frozen=True)
class FittedImage:
    """Pixels with a dataset's size and channels, and facts about the image for the report."""

    pixels_HxWxC: UInt8[np.ndarray, "h w c"]
    size: tuple[int, int]  # width and height of the source image, upright
    kind: str  # format and mode of the source image
    notes: tuple[str, ...] = ()  # changes made to it
    deep_range: tuple[int, int] | None = None  # smallest and largest value, if stored in 16 bits


def fit_entry(
    stored: bytes | np.ndarray, geometry: Geometry, value_range: tuple[float, float] | None = None
) -> FittedImage:
    """Convert an encoded image, or an array [H, W] or [H, W, C].

    Raises:
        Unreadable: If it is not a complete image, or if the geometry has 2, or 5 or more channels,
            and the entry does not.
    """
    if geometry.channels in MODES:
        return _fit_image(decode(stored, value_range), geometry)
    return _fit_channels(stored, geometry, value_range)


def stored_size(
    stored: bytes | np.ndarray, value_range: tuple[float, float] | None = None
) -> tuple[int, int]:
    """Return the width and height of an entry, upright; raise Unreadable if it is damaged."""
    if isinstance(stored, np.ndarray) and stored.ndim == 3:
        stored = stored[..., 0]
    return decode(stored, value_range).image.size


def _fit_image(decoded: DecodedImage, geometry: Geometry) -> FittedImage:
    image, notes = decoded.image, list(decoded.notes)
    if image.mode == "RGBA" and geometry.channels != 4:
        notes.append("transparency composited on white")
    if geometry.enlarges(image.size):
        notes.append("enlarged")
    pixels_HxWxC, kind = fit(image, geometry), decoded.kind
    return FittedImage(pixels_HxWxC, image.size, kind, tuple(notes), decoded.deep_range)


def _fit_channels(
    stored: bytes | np.ndarray, geometry: Geometry, value_range: tuple[float, float] | None
) -> FittedImage:
    wanted = geometry.channels
    if isinstance(stored, bytes) or stored.ndim != 3 or stored.shape[-1] != wanted:
        raise Unreadable(f"not an array of {wanted} channels")
    gray = dataclasses.replace(geometry, channels=1)
    channels = [
        _fit_image(decode(stored[..., channel], value_range), gray) for channel in range(wanted)
    ]
    pixels = np.concatenate([fitted.pixels_HxWxC for fitted in channels], axis=-1)
    ranges = [fitted.deep_range for fitted in channels]
    return dataclasses.replace(
        channels[0],
        pixels_HxWxC=pixels,
        kind=f"{channels[0].kind} of {wanted} channels",
        deep_range=functools.reduce(joined_range, ranges),
    )
