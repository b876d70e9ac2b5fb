"""Past images that a discriminator sees in place of new ones (arXiv 1612.07828, section 2.3).

As in CycleGAN (arXiv 1703.10593, section 4): the pool first fills; then every new image takes, half
of the time, the place of one that was kept, which the discriminator sees instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import lax

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int, Key


def exchange(
    pool_MxHxWxC: Float[Array, "m h w c"],
    images_seen: Int[Array, ""],
    images_BxHxWxC: Float[Array, "b h w c"],
    key: Key[Array, ""],
) -> tuple[Float[Array, "m h w c"], Float[Array, "b h w c"]]:
    """Put new images into a pool, one after the other.

    Args:
        pool_MxHxWxC: The pool, whose first images are valid: `images_seen` of them, at most all.
        images_seen: Number of images that were put in before.
        images_BxHxWxC: New images.
        key: Decides which are exchanged.

    Returns:
        The new pool, and for each new image itself or one that was kept; no new image is changed
        if the pool has no place.
    """
    size = len(pool_MxHxWxC)
    if not size:
        return pool_MxHxWxC, images_BxHxWxC
    count = len(images_BxHxWxC)
    swap_key, place_key = jax.random.split(key)
    swaps_B = jax.random.bernoulli(swap_key, 0.5, (count,))
    places_B = jax.random.randint(place_key, (count,), 0, size)

    def put(pool: Array, each: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
        image, number, swaps, place = each
        full = number >= size
        place = jnp.where(full, place, number)
        kept = lax.dynamic_index_in_dim(pool, place, keepdims=False)
        stored = jnp.where(full & ~swaps, kept, image)
        pool = lax.dynamic_update_index_in_dim(pool, stored, place, 0)
        return pool, jnp.where(full & swaps, kept, image)

    numbers_B = images_seen + jnp.arange(count)
    return lax.scan(put, pool_MxHxWxC, (images_BxHxWxC, numbers_B, swaps_B, places_B))
