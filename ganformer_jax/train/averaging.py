"""The moving average of a generator's parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


def moved_average(
    average: Any,
    params: Any,
    count: int,
    half_life: Float[Array, ""],
    images_seen: Int[Array, ""],
    rampup: float | None,
) -> Any:
    """Return an average, moved toward the parameters by a step of `count` images.

    The half-life is in images, and at most `rampup` times those seen, so that the first weights are
    soon forgotten.
    """
    if rampup is not None:
        half_life = jnp.minimum(half_life, images_seen * rampup)
    beta = 0.5 ** (count / jnp.maximum(half_life, 1e-8))
    return jax.tree.map(lambda a, p: p + beta * (a - p), average, params)
