"""What keeps noise that is optimized from becoming an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

if TYPE_CHECKING:
    import jax
    from jaxtyping import Array, Float

    NoiseMaps = Mapping[str, Float[jax.Array, "b h w"]]

COARSEST = 8
"""Longer side of the coarsest noise that is compared with its neighbors."""


def correlation(maps: NoiseMaps) -> Float[Array, " b"]:
    """Return how much noise resembles an image (StyleGAN2, arXiv 1912.04958, appendix D).

    For every map and every halving of it down to 8 pixels, the squared mean product with itself
    moved by one pixel, along rows and along columns.
    """
    total: Any = 0.0
    for noise_BxHxW in maps.values():
        while True:
            for axis in (1, 2):
                moved = jnp.roll(noise_BxHxW, 1, axis)
                total += jnp.square((noise_BxHxW * moved).mean((1, 2)))
            batch, height, width = noise_BxHxW.shape
            if max(height, width) <= COARSEST or height % 2 or width % 2:
                break
            # The mean of four pixels has half the deviation: brought back to unit variance.
            blocks = noise_BxHxW.reshape(batch, height // 2, 2, width // 2, 2)
            noise_BxHxW = 2 * blocks.mean((2, 4))
    return total


def normalized(maps: NoiseMaps) -> dict[str, Float[Array, "b h w"]]:
    """Bring every map to mean 0 and variance 1."""
    found = {}
    for name, noise_BxHxW in maps.items():
        centered = noise_BxHxW - noise_BxHxW.mean((1, 2), keepdims=True)
        found[name] = centered / jnp.sqrt(jnp.square(centered).mean((1, 2), keepdims=True) + 1e-8)
    return found
