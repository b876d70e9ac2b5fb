"""Instance normalization (Ulyanov et al. 2016, arXiv 1607.08022), with nothing trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float

EPSILON = 1e-5


def instance_norm(x_BxHxWxC: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Give every channel of every image a mean of 0 and a variance of 1, computed in float32."""
    x = x_BxHxWxC.astype(jnp.float32)
    mean = x.mean((1, 2), keepdims=True)
    variance = jnp.square(x - mean).mean((1, 2), keepdims=True)
    return ((x - mean) * jax.lax.rsqrt(variance + EPSILON)).astype(x_BxHxWxC.dtype)
