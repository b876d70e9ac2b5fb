"""Corruptions: noise in every pixel, and a rectangle cut out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp

from ganformer_jax.augment.transforms import Chances

if TYPE_CHECKING:
    from jaxtyping import Array, Float

NOISE = 0.1
"""Standard deviation of the noise's own standard deviation."""
CUTOUT = 0.5
"""Sides of the rectangle, relative to those of the image."""


def add_noise(
    x_BxHxWxC: Float[Array, "b h w c"],
    normal_BxHxWxC: Float[Array, "b h w c"] | None,
    chances: Chances,
) -> Float[Array, "b h w c"]:
    """Add normal noise of a random strength."""
    if not chances.has("noise"):
        return x_BxHxWxC
    assert normal_BxHxWxC is not None, "the pipeline checks its draws"
    strength_B = NOISE * chances.half_normal("noise")
    strength_B = jnp.where(chances.applied("noise"), strength_B, 0)
    return x_BxHxWxC + strength_B[:, None, None, None] * normal_BxHxWxC


def cut_out(x_BxHxWxC: Float[Array, "b h w c"], chances: Chances) -> Float[Array, "b h w c"]:
    """Set a rectangle to 0, which may reach beyond the image."""
    if not chances.has("cutout"):
        return x_BxHxWxC
    _, height, width, _ = x_BxHxWxC.shape
    across_BxW = _near(chances.uniform("cutout", 1), width)
    along_BxH = _near(chances.uniform("cutout", 2), height)
    cut_BxHxW = across_BxW[:, None, :] & along_BxH[:, :, None]
    cut_BxHxW &= chances.applied("cutout")[:, None, None]
    return jnp.where(cut_BxHxW[..., None], 0, x_BxHxWxC)


def _near(center_B: Float[Array, " b"], size: int) -> Array:
    """Return which of `size` pixels lie within the rectangle along one axis."""
    place_1xP = (jnp.arange(size)[None] + 0.5) / size
    return jnp.abs(place_1xP - center_B[:, None]) < CUTOUT / 2
