"""Distances between pairs of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from ganformer_jax.losses.checks import require

if TYPE_CHECKING:
    from jaxtyping import Array, Float

SMALLEST = 4
"""Shorter side of the coarsest level of a pyramid, at least."""


def laplacian_distance(
    one_BxHxWxC: Float[Array, "b h w c"], other_BxHxWxC: Float[Array, "b h w c"]
) -> Float[Array, " b"]:
    """Return the distance of each pair of images in a Laplacian pyramid.

    The sum over levels of the mean absolute difference, as in Lap1 of P. Bojanowski et al.,
    "Optimizing the Latent Space of Generative Networks", ICML 2018 (arXiv 1707.05776), where a
    level's sum is weighted by the size of its pixels. Levels are halved by averaging 2x2 pixels,
    until a side is odd or the shorter one has less than 8.

    Args:
        one_BxHxWxC: Images of any number of channels, in [-1, 1].
        other_BxHxWxC: The second image of each pair.

    Returns:
        Float32 [B], non-negative.

    Raises:
        ValueError: Images of another rank, or of two shapes.
        TypeError: Images that are not floating point.
    """
    require(one_BxHxWxC, "images", 4)
    require(other_BxHxWxC, "images", 4)
    if one_BxHxWxC.shape != other_BxHxWxC.shape:
        raise ValueError(f"images {one_BxHxWxC.shape} and {other_BxHxWxC.shape}")
    # The pyramid is linear: that of a difference is the difference of pyramids.
    rest = one_BxHxWxC.astype(jnp.float32) - other_BxHxWxC.astype(jnp.float32)
    distance_B = jnp.zeros(rest.shape[0])
    while all(side % 2 == 0 and side >= 2 * SMALLEST for side in rest.shape[1:3]):
        batch, height, width, channels = rest.shape
        half = rest.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))
        detail = rest - jax.image.resize(half, rest.shape, "bilinear")
        distance_B += jnp.abs(detail).mean((1, 2, 3))
        rest = half
    return distance_B + jnp.abs(rest).mean((1, 2, 3))
