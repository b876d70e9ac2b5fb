"""Segmentations side by side, one color a segment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ganformer_jax.pixels import as_rgb
from ganformer_jax.visualize.attention import component_palette, headings
from ganformer_jax.visualize.images import image_grid

if TYPE_CHECKING:
    from jaxtyping import Int, UInt8


def segments_grid(
    images_BxHxWxC: UInt8[np.ndarray, "batch height width channels"],
    segments: Mapping[str, Int[np.ndarray, "batch height width"]],
    *,
    cell: int = 96,
    padding: int = 4,
) -> UInt8[np.ndarray, "figure_height figure_width 3"]:
    """Draws one row an image: the image, then each of its segmentations under its name.

    Args:
        images_BxHxWxC: Uint8 images, one or three channels.
        segments: By name, the segment of each pixel, from 0 up; colors say nothing across columns.
        cell: Width of each picture in pixels, at least; pixels stay whole.
        padding: Pixels between cells.

    Raises:
        ValueError: If a segmentation has another shape than the images.
    """
    images = as_rgb(images_BxHxWxC)
    palette = component_palette(1 + max(int(found.max()) for found in segments.values()))
    columns = [images]
    for name, found in segments.items():
        if found.shape != images.shape[:3]:
            raise ValueError(f"{name} is {list(found.shape)}, images are {list(images.shape)}")
        columns.append(palette[found])
    scale = max(1, math.ceil(cell / images.shape[2]))
    cells = np.stack(columns, 1).reshape(-1, *images.shape[1:])
    grid = image_grid(cells, len(columns), padding=padding, scale=scale)
    return np.concatenate([headings(["image", *segments], scale * images.shape[2], padding), grid])
