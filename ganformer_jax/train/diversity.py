"""The diversity of generated images: their variance over a batch, relative to real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    Images = Float[Array, "b h w c"]

LARGEST_GRID = 8
"""Longer side of the grid of means that is compared."""


@jax.named_scope("diversity")
def image_moments(real_BxHxWxC: Images, fake_BxHxWxC: Images) -> tuple[jax.Array, jax.Array]:
    """Return means over a batch from which `diversity` follows, of real and generated images.

    They average over parts of a batch and over devices. Details do not count: images are first
    averaged over squares, halved while their longer side is above 8 and both sides are even.

    Returns:
        Mean image [2, H, W, C] and mean square [2].
    """
    images = jnp.stack([_small(real_BxHxWxC), _small(fake_BxHxWxC)])
    return images.mean(1), jnp.square(images).mean((1, 2, 3, 4))


def diversity(mean_2xHxWxC: Float[Array, "2 h w c"], square_2: Float[Array, 2]) -> jax.Array:
    """Return the variance of generated images over the batch, relative to that of real ones.

    The variance is a mean over pixels and channels. 0 means that all generated images are the same,
    and 1 that they differ as much as real ones.

    Args:
        mean_2xHxWxC: Mean image of real and of generated images over the full batch.
        square_2: Their mean squares.
    """
    variance_2 = jnp.maximum(square_2 - jnp.square(mean_2xHxWxC).mean((1, 2, 3)), 0.0)
    return variance_2[1] / jnp.maximum(variance_2[0], 1e-8)


def _small(images_BxHxWxC: Images) -> Images:
    images_BxHxWxC = images_BxHxWxC.astype(jnp.float32)
    _, height, width, _ = images_BxHxWxC.shape
    factor = 1
    while max(height, width) > LARGEST_GRID and not height % 2 and not width % 2:
        height, width, factor = height // 2, width // 2, 2 * factor
    count, channels = images_BxHxWxC.shape[0], images_BxHxWxC.shape[3]
    squares = images_BxHxWxC.reshape(count, height, factor, width, factor, channels)
    return squares.mean((2, 4))
