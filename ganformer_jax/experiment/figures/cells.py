"""Cells of figures: a region of an image, and the change by an edit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, UInt8

CHANGE = "change x 2"
"""Heading of `change_cell`."""


def region_cell(
    image_HxWx3: UInt8[np.ndarray, "h w 3"], region_HxW: Bool[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw a region in its colors and the rest of the image dark."""
    return np.where(region_HxW[..., None], image_HxWx3, 40 + image_HxWx3 // 8)


def change_cell(
    before_HxWx3: UInt8[np.ndarray, "h w 3"], after_HxWx3: UInt8[np.ndarray, "h w 3"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw the largest change of a channel at each pixel, twice as bright, in gray."""
    change_HxW = np.abs(after_HxWx3.astype(int) - before_HxWx3).max(-1)
    gray_HxWx1 = np.clip(2 * change_HxW, 0, 255).astype(np.uint8)[..., None]
    return np.broadcast_to(gray_HxWx1, before_HxWx3.shape)
