"""A grid of images, a PNG file."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ganformer_jax.errors import UserError
from ganformer_jax.pixels import as_rgb

if TYPE_CHECKING:
    from jaxtyping import UInt8


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
