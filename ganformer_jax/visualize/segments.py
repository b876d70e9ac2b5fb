"""Segmentations beside their images, one color for each segment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ganformer_jax.pixels import as_rgb
from ganformer_jax.visualize.colors import component_palette
from ganformer_jax.visualize.images import image_grid

if TYPE_CHECKING:
    from jaxtyping import Int, UInt8


def segments_grid(
    images_BxHxWxC: UInt8[np.ndarray, "b h w c"],
    segments: Mapping[str, Int[np.ndarray, "b h w"]],
    *,
    cell: int = 96,
    padding: int = 4,
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw one row for each image: the image, then each of its segmentations under its name.

    Args:
        images_BxHxWxC: uint8 images of one, three or four channels.
        segments: Segment of each pixel, from 0 up, by the name of the segmentation. Equal colors
            in different columns mean nothing.
        cell: Smallest width of a cell in pixels; images are enlarged by a whole factor.
        padding: Pixels between cells.

    Returns:
        The figure, uint8 RGB.

    Raises:
        ValueError: If a segmentation has another shape than the images.
    """
    images = as_rgb(images_BxHxWxC)
    palette = component_palette(1 + max(int(found.max()) for found in segments.values()))
    columns = [images]
    for name, segments_BxHxW in segments.items():
        if segments_BxHxW.shape != images.shape[:3]:
            shape = list(segments_BxHxW.shape)
            raise ValueError(f"{name} is {shape}, images are {list(images.shape)}")
        columns.append(palette[segments_BxHxW])
    cells = np.stack(columns, 1).reshape(-1, *images.shape[1:])
    scale = max(1, math.ceil(cell / images.shape[2]))
    headings = ["image", *segments]
    return image_grid(cells, len(columns), padding=padding, scale=scale, headings=headings)
