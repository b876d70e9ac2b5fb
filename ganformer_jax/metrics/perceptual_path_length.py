"""Perceptual path length: how much a picture changes as its latents take a short step.

T. Karras, S. Laine, T. Aila, "A Style-Based Generator Architecture for Generative Adversarial
Networks", CVPR 2019 (arXiv 1812.04948), section 4.1, equations 2 and 3. The sampling of ends
only, t = 0, and of full paths are of the published code and of StyleGAN2 (arXiv 1912.04958).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Array, Float

STEP = 1e-4
"""Length of the step, epsilon in the paper."""


def slerp(
    one: Float[Array, "*shape dim"], other: Float[Array, "*shape dim"], t: Float[Array, "*shape 1"]
) -> Float[Array, "*shape dim"]:
    """Interpolates along the great circle between directions: unit vectors, `one` at t = 0."""
    one, other = (x / jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (one, other))
    cosine = jnp.sum(one * other, axis=-1, keepdims=True)
    angle = t * jnp.arccos(jnp.clip(cosine, -1.0, 1.0))
    across = other - cosine * one
    length = jnp.linalg.norm(across, axis=-1, keepdims=True)
    across = across / jnp.maximum(length, jnp.finfo(across.dtype).tiny)
    return one * jnp.cos(angle) + across * jnp.sin(angle)


def lerp(
    one: Float[Array, "*shape dim"], other: Float[Array, "*shape dim"], t: Float[Array, "*shape 1"]
) -> Float[Array, "*shape dim"]:
    """Interpolates along the straight line: `one` at t = 0, `other` at t = 1."""
    return one + (other - one) * t


def path_length_of(distances_N: Float[np.ndarray, " n"], step: float = STEP) -> float:
    """Mean of distances over the squared step, without the least and the greatest hundredth.

    Args:
        distances_N: LPIPS between the pictures at both ends of each step.
        step: Its length.

    Raises:
        ValueError: If there are no distances, or some are not finite.
    """
    found = np.asarray(distances_N, np.float64)
    if found.ndim != 1 or not found.size:
        raise ValueError(f"distances must be a list of numbers, got {list(found.shape)}")
    if not np.isfinite(found).all():
        raise ValueError("distances are not finite: look for NaN in pictures or weights")
    low = np.percentile(found, 1, method="lower")
    high = np.percentile(found, 99, method="higher")
    return float(found[(found >= low) & (found <= high)].mean() / step**2)
