"""Random numbers that do not depend on how jax is configured to draw them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax

if TYPE_CHECKING:
    from jaxtyping import Array, Int, Key


def seeded_key(seed: int | Int[Array, ""]) -> Key[Array, ""]:
    """Return a key of Threefry, by which an item of a batch depends on its own key alone.

    By other implementations, such as the `jax_default_prng_impl` rbg, it depends on the batch too.
    """
    return jax.random.key(seed, impl="threefry2x32")
