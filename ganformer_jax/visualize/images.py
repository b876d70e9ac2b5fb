"""Grids of images and of their segmentations, colors, and PNG files."""

from __future__ import annotations

import colorsys
import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ganformer_jax.files import atomic_path
from ganformer_jax.pixels import as_rgb

if TYPE_CHECKING:
    from jax.typing import ArrayLike
    from jaxtyping import Int, UInt8

HEADING_HEIGHT, FONT_SIZE = 22, 14  # pixels
SMALL = 64  # pixels
# Okabe and Ito's colors, then Paul Tol's "muted" ones: distinct with any color vision.
_COMPONENTS = (
    "#E69F00 #56B4E9 #009E73 #F0E442 #0072B2 #D55E00 #CC79A7 "
    "#882255 #88CCEE #117733 #DDCC77 #332288 #CC6677 #44AA99 #AA4499 #999933"
).split()


NO_COMPONENT = (96, 96, 96)
"""Color of pixels that attend to no component."""


def component_palette(components: int) -> UInt8[np.ndarray, "k 3"]:
    """Return an RGB color for each latent component; beyond 16, by golden-ratio steps in hue."""
    colors = [tuple(bytes.fromhex(color[1:])) for color in _COMPONENTS[:components]]
    for i in range(len(colors), components):
        hue, value = i * 0.618034 % 1, (0.95, 0.7, 0.5)[i % 3]
        colors.append(tuple(round(255 * c) for c in colorsys.hsv_to_rgb(hue, 0.75, value)))
    return np.array(colors, np.uint8)


def image_grid(
    images_BxHxWxC: UInt8[ArrayLike, "b h w c"],
    columns: int | None = None,
    *,
    padding: int = 2,
    scale: int | None = 1,
    background: int = 255,
    headings: Sequence[str] = (),
    row_headings: Sequence[str] = (),
) -> UInt8[np.ndarray, "h w 3"]:
    """Lay images out row by row.

    Args:
        images_BxHxWxC: uint8 images of any number of channels.
        columns: Images per row, 1 or more; by default the grid is about square.
        padding: Pixels between images and around them.
        scale: Whole factor, 1 or more, by which each image is enlarged, pixel by pixel; None for
            the largest one that keeps the longer side within `SMALL` pixels, at least 1.
        background: Gray level of the padding and of empty places, 0..255.
        headings: Text above each column; none, or as many as columns.
        row_headings: Text left of each row; none, or as many as rows.

    Raises:
        ValueError: If there are no images, they have another dtype or shape, `columns` or `scale`
            are below 1, or there is another number of headings.
    """
    images = as_rgb(images_BxHxWxC)
    for name, number in (("columns", columns), ("scale", scale)):
        if number is not None and number < 1:
            raise ValueError(f"{name} is {number}; it should be 1 or more")
    scale = max(1, SMALL // max(images.shape[1:3])) if scale is None else scale
    images = images.repeat(scale, axis=1).repeat(scale, axis=2)
    count, height, width, _ = images.shape
    if count == 0:
        raise ValueError("no images to lay out")
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    rows = math.ceil(count / columns)
    for texts, cells, name in ((headings, columns, "columns"), (row_headings, rows, "rows")):
        if len(texts) not in (0, cells):
            raise ValueError(f"{len(texts)} headings for {cells} {name}: give one for each")
    size = (rows * (height + padding) + padding, columns * (width + padding) + padding, 3)
    grid = np.full(size, background, np.uint8)
    for i, image in enumerate(images):
        top = padding + i // columns * (height + padding)
        left = padding + i % columns * (width + padding)
        grid[top : top + height, left : left + width] = image
    if headings:
        grid = np.concatenate([_heading_strip(headings, width, padding), grid])
    if row_headings:
        above = len(grid) - size[0]
        grid = np.concatenate([_row_strip(row_headings, height, padding, above), grid], 1)
    return grid


def _heading_strip(texts: Sequence[str], width: int, padding: int) -> UInt8[np.ndarray, "h w 3"]:
    strip = Image.new("RGB", (len(texts) * (width + padding) + padding, HEADING_HEIGHT), "white")
    draw = ImageDraw.Draw(strip)
    font = ImageFont.load_default(size=FONT_SIZE)
    for i, text in enumerate(texts):
        center = padding + i * (width + padding) + width / 2
        draw.text((center, HEADING_HEIGHT - 4), str(text), fill="black", font=font, anchor="ms")
    return np.asarray(strip)


def _row_strip(
    texts: Sequence[str], height: int, padding: int, above: int
) -> UInt8[np.ndarray, "h w 3"]:
    font = ImageFont.load_default(size=FONT_SIZE)
    width = math.ceil(max(font.getlength(str(text)) for text in texts)) + 2 * FONT_SIZE // 2
    size = width, above + len(texts) * (height + padding) + padding
    strip = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(strip)
    for i, text in enumerate(texts):
        middle = above + padding + i * (height + padding) + height / 2
        draw.text((width - FONT_SIZE // 2, middle), str(text), fill="black", font=font, anchor="rm")
    return np.asarray(strip)


def component_legend(components: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """Draw a square in the color of each latent component, and its number, from 1.

    Args:
        components: Number of components.
        width: Width of the figure below which it is drawn, in pixels; the legend wraps to it.
    """
    font, cell = ImageFont.load_default(size=FONT_SIZE), 3 * FONT_SIZE
    columns = max(1, min(components, (width - FONT_SIZE) // cell))
    lines = math.ceil(components / columns)
    strip = Image.new("RGB", (max(width, cell + FONT_SIZE), lines * HEADING_HEIGHT), "white")
    draw = ImageDraw.Draw(strip)
    for i, color in enumerate(component_palette(components)):
        left, top = FONT_SIZE // 2 + i % columns * cell, i // columns * HEADING_HEIGHT
        box = left, top + 4, left + FONT_SIZE, top + 4 + FONT_SIZE
        draw.rectangle(box, fill=tuple(map(int, color)), outline="black")
        draw.text((box[2] + 4, top + 4), str(i + 1), fill="black", font=font)
    return np.asarray(strip)


def segments_grid(
    images_BxHxWxC: UInt8[ArrayLike, "b h w c"],
    segments: Mapping[str, Int[ArrayLike, "b h w"]],
    *,
    cell: int = 96,
    padding: int = 4,
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw one row for each image: the image, then each of its segmentations under its name.

    Args:
        images_BxHxWxC: uint8 images of any number of channels.
        segments: Segment of each pixel, from 0 up, by the name of the segmentation; -1 for none,
            which is gray. Equal colors in different columns are unrelated.
        cell: Smallest width of a cell in pixels; images are enlarged by a whole factor.
        padding: Pixels between cells.

    Raises:
        ValueError: If there are no segmentations or images, or a segmentation has another shape
            than the images or other values than integers from -1 up.
    """
    images = as_rgb(images_BxHxWxC)
    if not segments or not len(images):
        raise ValueError("no segmentations or no images to draw")
    found = {name: np.asarray(one) for name, one in segments.items()}
    for name, segments_BxHxW in found.items():
        if segments_BxHxW.shape != images.shape[:3]:
            shape = list(segments_BxHxW.shape)
            raise ValueError(f"{name} is {shape}, images are {list(images.shape)}")
        if segments_BxHxW.dtype.kind not in "iu" or segments_BxHxW.min() < -1:
            raise ValueError(f"{name} has values that are not integers from -1 up")
    palette = component_palette(1 + max(int(one.max()) for one in found.values()))
    palette = np.vstack([palette, [NO_COMPONENT]]).astype(np.uint8)  # which -1 selects
    columns = [images]
    for segments_BxHxW in found.values():
        columns.append(palette[segments_BxHxW])
    cells = np.stack(columns, 1).reshape(-1, *images.shape[1:])
    scale = max(1, math.ceil(cell / images.shape[2]))
    headings = ["image", *segments]
    return image_grid(cells, len(columns), padding=padding, scale=scale, headings=headings)


def save_png(path: str | os.PathLike[str], image: UInt8[ArrayLike, "h w *c"]) -> None:
    """Write a PNG atomically, creating the folders above it.

    Args:
        path: The file; it is replaced if it exists.
        image: uint8 [H, W] or [H, W, C]; 2 channels, and 5 or more, are drawn by `as_rgb`.

    Raises:
        ValueError: If the image has another dtype or rank.
        UserError: If the file cannot be written.
    """
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        shape = list(pixels.shape)
        raise ValueError(f"an image must be uint8 [H, W] or [H, W, C], got {pixels.dtype} {shape}")
    if pixels.ndim == 3 and pixels.shape[-1] not in (3, 4):
        pixels = pixels[..., 0] if pixels.shape[-1] == 1 else as_rgb(pixels[None])[0]
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="png")
