"""Checks of the images that are augmented."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def check_images(images_BxHxWxC: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Return images as a JAX array, in which NumPy's float64 is float32.

    Raises:
        ValueError: If they are of another rank.
        TypeError: If they are not floating point.
    """
    if jnp.ndim(images_BxHxWxC) != 4:
        raise ValueError(f"images must have rank 4, not shape {jnp.shape(images_BxHxWxC)}")
    if not jnp.issubdtype(images_BxHxWxC.dtype, jnp.floating):
        raise TypeError(f"images must be floating point, not {images_BxHxWxC.dtype}")
    return jnp.asarray(images_BxHxWxC)


def check_count(drawn: int, count: int) -> None:
    """Raise ValueError for random numbers of another number of images."""
    if drawn != count:
        raise ValueError(f"random numbers for {drawn} images, but there are {count}")
