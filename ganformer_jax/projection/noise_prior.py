"""Prior of optimized noise, which keeps it from becoming an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

if TYPE_CHECKING:
    import jax
    from jaxtyping import Array, Float

    NoiseMaps = Mapping[str, Float[jax.Array, "b *k h w"]]

COARSEST = 8
"""Longer side of the coarsest noise that is compared with its neighbors."""


def correlation(maps: NoiseMaps) -> Float[Array, " b"]:
    """Return the correlation of neighboring noise (StyleGAN2, arXiv 1912.04958, appendix D).

    It sums, for every map and every halving of it down to 8 pixels, the squared mean product with
    itself shifted by one pixel along rows and columns; for a k-GAN also over its images.
    """
    total: Any = 0.0
    for noise in maps.values():
        noise_BxKxHxW = noise.reshape(len(noise), -1, *noise.shape[-2:])
        while True:
            for axis in (2, 3):
                moved = jnp.roll(noise_BxKxHxW, 1, axis)
                total += jnp.square((noise_BxKxHxW * moved).mean((2, 3))).sum(1)
            *batch, height, width = noise_BxKxHxW.shape
            if max(height, width) <= COARSEST or height % 2 or width % 2:
                break
            # The mean of four pixels has half the deviation: brought back to unit variance.
            blocks = noise_BxKxHxW.reshape(*batch, height // 2, 2, width // 2, 2)
            noise_BxKxHxW = 2 * blocks.mean((3, 5))
    return total


def normalized(maps: NoiseMaps) -> dict[str, Float[Array, "b *k h w"]]:
    """Bring every map to mean 0 and variance 1."""
    found = {}
    for name, noise in maps.items():
        centered = noise - noise.mean((-2, -1), keepdims=True)
        found[name] = centered / jnp.sqrt(jnp.square(centered).mean((-2, -1), keepdims=True) + 1e-8)
    return found
