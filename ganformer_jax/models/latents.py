"""Pure functions on latents: broadcasting over layers, truncation and mixing.

Cutoffs may be traced, so that one compiled step serves every draw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


def broadcast_layers(w_BxKxW: Float[Array, "b k w"], layers: int) -> Float[Array, "b k l w"]:
    """Give every synthesis layer the same latents."""
    batch, latents, width = w_BxKxW.shape
    return jnp.broadcast_to(w_BxKxW[:, :, None], (batch, latents, layers, width))


def truncate(
    w_BxKxLxW: Float[Array, "b k l w"],
    w_average_W: Float[Array, " w"],
    psi: float | Float[Array, ""],
    cutoff: int | Int[Array, ""] | None = None,
) -> Float[Array, "b k l w"]:
    """Truncation trick (arXiv 1812.04948, appendix B): w_average + psi (w - w_average).

    Args:
        w_BxKxLxW: Latents.
        w_average_W: Mean of w, shared by all components.
        psi: 1 changes nothing, 0 gives the mean.
        cutoff: Truncate the first `cutoff` layers only; None for all.
    """
    layer = jnp.arange(w_BxKxLxW.shape[2])
    strength_L = jnp.full(layer.shape, psi, w_BxKxLxW.dtype)
    if cutoff is not None:
        strength_L = jnp.where(layer < cutoff, strength_L, 1.0)
    mean = w_average_W[None, None, None]
    return mean + (w_BxKxLxW - mean) * strength_L[None, None, :, None]


def mix_layers(
    w_BxKxLxW: Float[Array, "b k l w"],
    other_BxKxLxW: Float[Array, "b k l w"],
    cutoff: int | Int[Array, ""],
) -> Float[Array, "b k l w"]:
    """Style mixing (arXiv 1812.04948, section 3.1): layers from `cutoff` on come from `other`."""
    layer = jnp.arange(w_BxKxLxW.shape[2])[None, None, :, None]
    return jnp.where(layer < cutoff, w_BxKxLxW, other_BxKxLxW)


def mix_components(
    w_BxKxLxW: Float[Array, "b k l w"],
    other_BxKxLxW: Float[Array, "b k l w"],
    cutoff: int | Int[Array, ""],
) -> Float[Array, "b k l w"]:
    """Component mixing: latents from index `cutoff` on come from `other`."""
    latent = jnp.arange(w_BxKxLxW.shape[1])[None, :, None, None]
    return jnp.where(latent < cutoff, w_BxKxLxW, other_BxKxLxW)
