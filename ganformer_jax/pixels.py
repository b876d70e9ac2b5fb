"""Images as uint8 in 0..255 and as floats in [-1, 1], and in color."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import jax
    from jaxtyping import UInt8

    Images = TypeVar("Images", np.ndarray, jax.Array)


def to_uint8(images: Images) -> Images:
    """Map floats in [-1, 1], a numpy or JAX array of any shape, to uint8: round and clip."""
    values = (images.astype(np.float32) + 1) * 127.5
    return values.round().clip(0, 255).astype(np.uint8)


def from_uint8(images: Images) -> Images:
    """Map uint8, a numpy or JAX array of any shape, to float32 in [-1, 1]."""
    return images.astype(np.float32) / 127.5 - 1


def on_white(images: UInt8[np.ndarray, "*shape 4"]) -> UInt8[np.ndarray, "*shape 3"]:
    """Lay images with opacity on a white ground."""
    opacity = images[..., 3:].astype(np.float32) / 255
    mixed = images[..., :3] * opacity + 255 * (1 - opacity)
    return mixed.round().astype(np.uint8)


def as_rgb(images_BxHxWxC: UInt8[np.ndarray, "b h w c"]) -> UInt8[np.ndarray, "b h w 3"]:
    """Repeat a single channel three times, and lay images with opacity on white.

    Raises:
        ValueError: Unless images are uint8 with 1, 3 or 4 channels.
    """
    images = np.asarray(images_BxHxWxC)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3, 4):
        raise ValueError(
            "images must be uint8 [B, H, W, 1, 3 or 4], "
            f"got {images.dtype} {list(images.shape)}; see to_uint8"
        )
    if images.shape[-1] == 4:
        return on_white(images)
    return np.broadcast_to(images, (*images.shape[:3], 3))
