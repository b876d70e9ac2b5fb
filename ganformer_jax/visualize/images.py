"""Float images to bytes, a grid of images, a PNG file."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ganformer_jax.data.pictures import on_white
from ganformer_jax.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8


def to_uint8(images: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Maps floats in [-1, 1] to 0..255, rounding; what lies outside is clipped."""
    values = np.asarray(images, np.float32)
    return np.clip(np.round((values + 1) * 127.5), 0, 255).astype(np.uint8)


def as_rgb(
    images_BxHxWxC: UInt8[np.ndarray, "batch height width channels"],
) -> UInt8[np.ndarray, "batch height width 3"]:
    """Repeats a single channel three times, and lays what has an opacity on white.

    Raises:
        ValueError: Unless images are uint8 with 1, 3 or 4 channels.
    """
    images = np.asarray(images_BxHxWxC)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3, 4):
        raise ValueError(
            "images must be uint8 [batch, height, width, 1, 3 or 4], "
            f"got {images.dtype} {list(images.shape)}; see to_uint8"
        )
    if images.shape[-1] == 4:
        return on_white(images)
    return np.broadcast_to(images, (*images.shape[:3], 3))


def image_grid(
    images_BxHxWxC: UInt8[np.ndarray, "batch height width channels"],
    columns: int | None = None,
    *,
    padding: int = 2,
    scale: int = 1,
    background: int = 255,
) -> UInt8[np.ndarray, "grid_height grid_width 3"]:
    """Lays images out row by row.

    Args:
        images_BxHxWxC: Uint8, one or three channels.
        columns: Images in a row; by default as many as make the grid about square.
        padding: Pixels between images and around them.
        scale: Enlarges each image so many times, pixel by pixel.
        background: Gray level of the padding and of places left over.

    Raises:
        ValueError: If there are no images, or they are not uint8 of such a shape.
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
    return grid


def save_png(path: str | os.PathLike[str], image: UInt8[np.ndarray, "height width *rgb"]) -> None:
    """Writes a PNG whole or not at all, making the folders above it where needed.

    Raises:
        UserError: If the file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                Image.fromarray(np.asarray(image)).save(file, format="png")
            os.chmod(temporary, 0o644)  # mkstemp lets only the owner read
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
