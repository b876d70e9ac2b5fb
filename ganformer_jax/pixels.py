"""Images as uint8 in 0..255 and as floats in [-1, 1], and in color."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import jax
    from jax.typing import ArrayLike
    from jaxtyping import Float, Int, UInt8

    Images = TypeVar("Images", np.ndarray, jax.Array)


NOTHING = 20
"""Factor by which attention to nothing exceeds that to any component: `strongest_component`."""


def to_uint8(images: Images) -> Images:
    """Map floats in [-1, 1], a numpy or JAX array of any shape, to uint8: round and clip.

    Raises:
        TypeError: If they are integers already.
    """
    if images.dtype.kind in "iub":
        raise TypeError(f"images are {images.dtype}, not floats in [-1, 1]")
    values = (images.astype(np.float32) + 1) * 127.5
    return values.round().clip(0, 255).astype(np.uint8)


def from_uint8(images: Images) -> Images:
    """Map uint8, a numpy or JAX array of any shape, to float32 in [-1, 1].

    Raises:
        TypeError: If they are not integers: floats in [-1, 1] would all become nearly -1.
    """
    if images.dtype.kind not in "iu":
        raise TypeError(f"images are {images.dtype}, not uint8 in 0..255")
    return images.astype(np.float32) / 127.5 - 1


def enlarge(maps: np.ndarray, height: int, axis: int = -2) -> np.ndarray:
    """Repeat rows and columns of maps to this height, a multiple of theirs.

    Args:
        maps: Any number of maps of any type.
        height: Height of the result.
        axis: Axis of rows, which that of columns follows.
    """
    factor = height // maps.shape[axis]
    return maps.repeat(factor, axis).repeat(factor, axis + 1)


def strongest_component(attention: Float[np.ndarray, "*b k h w"]) -> Int[np.ndarray, "*b h w"]:
    """Return the component that each pixel attends to most, from 0.

    K, the number of components, where places or gates leave more than `NOTHING` times as much to
    nothing as to any component.

    Args:
        attention: Attention to each of K components, whose sum is at most 1 for every pixel.
    """
    nothing = 1 - attention.sum(-3)
    owned = NOTHING * attention.max(-3) >= nothing
    return np.where(owned, attention.argmax(-3), attention.shape[-3])


def strongest_in_layer(
    attention: Sequence[Float[np.ndarray, "b k n h w"]], layer: int | None = None
) -> Int[np.ndarray, "b h w"]:
    """Return `strongest_component` of one layer, heads averaged: the region of each component.

    Args:
        attention: Attention maps of one or more layers, as `Samples.attention`.
        layer: Number of the layer, from 0, the coarsest; by default the last.
    """
    return strongest_component(np.asarray(attention[-1 if layer is None else layer]).mean(2))


def on_white(images: UInt8[np.ndarray, "*shape 4"]) -> UInt8[np.ndarray, "*shape 3"]:
    """Lay images with opacity on a white ground."""
    opacity = images[..., 3:].astype(np.float32) / 255
    mixed = images[..., :3] * opacity + 255 * (1 - opacity)
    return mixed.round().astype(np.uint8)


def as_rgb(images_BxHxWxC: UInt8[ArrayLike, "b h w c"]) -> UInt8[np.ndarray, "b h w 3"]:
    """Show any number of channels in color.

    One channel is repeated, and color with opacity (4) composited on white. Two are red and green,
    and of five or more the first three are red, green and blue; `channel_words` says so.

    Raises:
        ValueError: Unless images are uint8 [B, H, W, C], C of 1 or more.
    """
    images = np.asarray(images_BxHxWxC)
    if images.dtype != np.uint8 or images.ndim != 4 or not images.shape[-1]:
        raise ValueError(
            f"images must be uint8 [B, H, W, C], got {images.dtype} {list(images.shape)}; see "
            "to_uint8"
        )
    channels = images.shape[-1]
    if channels == 1:
        return np.broadcast_to(images, (*images.shape[:3], 3))
    if channels == 2:
        return np.concatenate([images, np.zeros_like(images[..., :1])], axis=-1)
    return on_white(images) if channels == 4 else images[..., :3]


def channel_words(channels: int) -> str | None:
    """Say which channels figures and metrics in color use; None where that is clear."""
    if channels in (1, 3, 4):
        return None
    shown = "them as red and green" if channels == 2 else "the first three as red, green and blue"
    return f"images have {channels} channels: figures, and metrics of color images, use {shown}"
