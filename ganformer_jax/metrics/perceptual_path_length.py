"""Perceptual path length: how much an image changes for a short step of its latents.

T. Karras, S. Laine, T. Aila, "A Style-Based Generator Architecture for Generative Adversarial
Networks", CVPR 2019 (arXiv 1812.04948), section 4.1, equations 2 and 3. Steps at the start of
paths only (t = 0) or anywhere on them are options of the published code and of StyleGAN2 (arXiv
1912.04958).
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
    one: Float[Array, "... d"], other: Float[Array, "... d"], t: Float[Array, "... 1"]
) -> Float[Array, "... d"]:
    """Interpolate directions on the great circle, as unit vectors: `one` at t = 0."""
    one, other = (x / jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (one, other))
    cosine = jnp.sum(one * other, axis=-1, keepdims=True)
    angle = t * jnp.arccos(jnp.clip(cosine, -1.0, 1.0))
    across = other - cosine * one
    length = jnp.linalg.norm(across, axis=-1, keepdims=True)
    across = across / jnp.maximum(length, jnp.finfo(across.dtype).tiny)
    return one * jnp.cos(angle) + across * jnp.sin(angle)


def lerp(
    one: Float[Array, "... d"], other: Float[Array, "... d"], t: Float[Array, "... 1"]
) -> Float[Array, "... d"]:
    """Interpolate on the straight line: `one` at t = 0, `other` at t = 1."""
    return one + (other - one) * t


def path_length_of(distances_M: Float[np.ndarray, " m"], step: float = STEP) -> float:
    """Return the mean distance over the squared step, without the lowest and highest percent.

    Args:
        distances_M: LPIPS between the images at both ends of each step.
        step: Length of the step.

    Raises:
        ValueError: If there are no distances, or some are not finite.
    """
    distances = np.asarray(distances_M, np.float64)
    if distances.ndim != 1 or not distances.size:
        raise ValueError(f"distances must be a list of numbers, got {list(distances.shape)}")
    if not np.isfinite(distances).all():
        raise ValueError("distances are not finite: look for NaN in images or weights")
    low = np.percentile(distances, 1, method="lower")
    high = np.percentile(distances, 99, method="higher")
    return float(distances[(distances >= low) & (distances <= high)].mean() / step**2)
