"""Pure functions on latents: broadcasting over layers, truncation and mixing.

Cutoffs may be traced, so that one compiled step serves every draw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp

from ganformer_jax.config import GeneratorConfig

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int

    Latents = Float[Array, "b k l d"]
    Cutoff = int | Int[Array, ""]


def broadcast_layers(w_BxKxD: Float[Array, "b k d"], layers: int) -> Latents:
    """Give every synthesis layer the same latents."""
    batch, latents, width = w_BxKxD.shape
    return jnp.broadcast_to(w_BxKxD[:, :, None], (batch, latents, layers, width))


def truncate(
    w_BxKxLxD: Latents,
    w_average_D: Float[Array, " d"],
    psi: float | Float[Array, ""],
    cutoff: Cutoff | None = None,
    width: int | None = None,
    words: int = 0,
) -> Latents:
    """Apply the truncation trick (arXiv 1812.04948, appendix B): w_average + psi (w - w_average).

    Args:
        w_BxKxLxD: Latents.
        w_average_D: Mean of w, shared by all components.
        psi: 1 changes nothing, 0 gives the mean.
        cutoff: Truncate the first `cutoff` layers only; None for all.
        width: Truncate the first `width` numbers of each w only; None for all.
        words: Number of words of a caption, before the global latent, which stay as they are.

    Returns:
        Truncated latents.

    Raises:
        ValueError: If w has no axis of layers.
    """
    _check_layers(w_BxKxLxD)
    layer_L = jnp.arange(w_BxKxLxD.shape[2])
    strength_L = jnp.full(layer_L.shape, psi, w_BxKxLxD.dtype)
    if cutoff is not None:
        strength_L = jnp.where(layer_L < cutoff, strength_L, 1.0)
    mean = w_average_D[None, None, None]
    truncated = mean + (w_BxKxLxD - mean) * strength_L[None, None, :, None]
    if words:
        is_word_K = _is_word(w_BxKxLxD.shape[1], words)
        truncated = jnp.where(is_word_K[None, :, None, None], w_BxKxLxD, truncated)
    if width is None:
        return truncated
    return jnp.concatenate([truncated[..., :width], w_BxKxLxD[..., width:]], -1)


def truncate_w(
    config: GeneratorConfig,
    w_BxKxLxD: Latents,
    w_average_D: Float[Array, " d"],
    psi: float | Float[Array, ""],
    cutoff: Cutoff | None = None,
) -> Latents:
    """Truncate the w of a generator; words of captions and labels in w stay as they are.

    Arguments after the config are those of `truncate`.
    """
    return truncate(
        w_BxKxLxD, w_average_D, psi, cutoff, width=config.truncated_w_size, words=config.words
    )


def mix_layers(w_BxKxLxD: Latents, other_BxKxLxD: Latents, cutoff: Cutoff) -> Latents:
    """Mix styles (arXiv 1812.04948, section 3.1): layers from `cutoff` on come from `other`.

    Raises:
        ValueError: If w has no axis of layers.
    """
    _check_layers(w_BxKxLxD, other_BxKxLxD)
    layer = jnp.arange(w_BxKxLxD.shape[2])[None, None, :, None]
    return jnp.where(layer < cutoff, w_BxKxLxD, other_BxKxLxD)


def mix_components(
    w_BxKxLxD: Latents, other_BxKxLxD: Latents, cutoff: Cutoff, words: int = 0
) -> Latents:
    """Mix components: latents from index `cutoff` on come from `other`.

    Words of a caption, before the global latent, are not counted and stay.

    Raises:
        ValueError: If w has no axis of layers.
    """
    _check_layers(w_BxKxLxD, other_BxKxLxD)
    count = w_BxKxLxD.shape[1]
    latent_K = jnp.arange(count)
    if words:
        own_K = jnp.where(latent_K == count - 1, count - 1 - words, latent_K)
        latent_K = jnp.where(_is_word(count, words), -1, own_K)
    latent = latent_K[None, :, None, None]
    return jnp.where(latent < cutoff, w_BxKxLxD, other_BxKxLxD)


def _check_layers(*latents: Latents) -> None:
    for w in latents:
        if w.ndim != 4:
            hint = "give [batch, latents, layers, width], as `broadcast_layers` returns"
            raise ValueError(f"w is {list(w.shape)}: {hint}")


def _is_word(count: int, words: int) -> Bool[Array, " k"]:
    """Return which of the vectors of w are words: those before the last."""
    place_K = jnp.arange(count)
    return (place_K >= count - 1 - words) & (place_K < count - 1)
