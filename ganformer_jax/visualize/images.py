"""Grids of images, and PNG files."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ganformer_jax.files import atomic_path
from ganformer_jax.pixels import as_rgb

if TYPE_CHECKING:
    from jaxtyping import UInt8

HEADING_HEIGHT = 22  # pixels


def image_grid(
    images_BxHxWxC: UInt8[np.ndarray, "b h w c"],
    columns: int | None = None,
    *,
    padding: int = 2,
    scale: int = 1,
    background: int = 255,
    headings: Sequence[str] = (),
) -> UInt8[np.ndarray, "h w 3"]:
    """Lay images out row by row.

    Args:
        images_BxHxWxC: uint8 images of one, three or four channels.
        columns: Images in a row; by default such that the grid is about square.
        padding: Pixels between images and around them.
        scale: Factor by which each image is enlarged, pixel by pixel.
        background: Gray level of the padding and of empty places, 0..255.
        headings: Text above each column.

    Returns:
        The grid, uint8 RGB.

    Raises:
        ValueError: If there are no images, or they have another dtype or shape.
    """
    images = as_rgb(images_BxHxWxC).repeat(scale, axis=1).repeat(scale, axis=2)
    count, height, width, _ = images.shape
    if count == 0:
        raise ValueError("no images to lay out")
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    rows = math.ceil(count / columns)
    size = (rows * (height + padding) + padding, columns * (width + padding) + padding, 3)
    grid = np.full(size, background, np.uint8)
    for i, image in enumerate(images):
        top = padding + i // columns * (height + padding)
        left = padding + i % columns * (width + padding)
        grid[top : top + height, left : left + width] = image
    if headings:
        grid = np.concatenate([_heading_strip(headings, width, padding), grid])
    return grid


def _heading_strip(texts: Sequence[str], width: int, padding: int) -> UInt8[np.ndarray, "h w 3"]:
    strip = Image.new("RGB", (len(texts) * (width + padding) + padding, HEADING_HEIGHT), "white")
    draw = ImageDraw.Draw(strip)
    font = ImageFont.load_default(size=14)
    for i, text in enumerate(texts):
        center = padding + i * (width + padding) + width / 2
        draw.text((center, HEADING_HEIGHT - 4), text, fill="black", font=font, anchor="ms")
    return np.asarray(strip)


def save_png(path: str | os.PathLike[str], image: UInt8[np.ndarray, "h w *c"]) -> None:
    """Write a PNG atomically, creating the folders above it.

    Args:
        path: The file; it is replaced if it exists.
        image: uint8 [H, W] or [H, W, 3 or 4].

    Raises:
        UserError: If the file cannot be written.
    """
    with atomic_path(path) as temporary:
        Image.fromarray(np.asarray(image)).save(temporary, format="png")
