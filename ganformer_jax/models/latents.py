"""Pure functions on latents: broadcasting over layers, truncation and mixing.

Cutoffs may be traced, so that one compiled step serves every draw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from ganformer_jax.config import GeneratorConfig

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int

    Latents = Float[Array, "b k l d"]
    Cutoff = int | Int[Array, ""]


def broadcast_layers(w_BxKxD: Float[Array, "b k d"], layers: int) -> Latents:
    """Give every synthesis layer the same latents.

    Raises:
        ValueError: If w is of another rank.
    """
    if w_BxKxD.ndim != 3:
        raise ValueError(f"w is {list(w_BxKxD.shape)}: give [batch, latents, width]")
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
        psi: 1 changes nothing, 0 gives the mean; one number for all images.
        cutoff: Truncate the first `cutoff` layers only; None for all.
        width: Truncate the first `width` numbers of each w only; None for all.
        words: Number of words of a caption, before the global latent, which stay as they are.

    Returns:
        Truncated latents.

    Raises:
        ValueError: If w has no axis of layers, its mean is of another width, or there are several
            numbers psi or cutoffs.
        TypeError: If w is not floating point.
    """
    _check_layers(w_BxKxLxD)
    _check_scalars(psi=psi, cutoff=cutoff)
    if not jnp.issubdtype(w_BxKxLxD.dtype, jnp.floating):
        raise TypeError(f"w is {w_BxKxLxD.dtype}: convert it to floating point")
    if w_average_D.shape != w_BxKxLxD.shape[3:]:
        shape, wanted = list(w_average_D.shape), list(w_BxKxLxD.shape[3:])
        raise ValueError(f"the mean of w is {shape}: give {wanted}, the width of w")
    w_BxKxLxD = jnp.asarray(w_BxKxLxD)  # NumPy's float64 as float32
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
        ValueError: If w has no axis of layers, `other` is of another shape, or there are several
            cutoffs.
    """
    _check_pair(w_BxKxLxD, other_BxKxLxD)
    _check_scalars(cutoff=cutoff)
    layer = jnp.arange(w_BxKxLxD.shape[2])[None, None, :, None]
    return jnp.where(layer < cutoff, w_BxKxLxD, other_BxKxLxD)


def mix_components(
    w_BxKxLxD: Latents, other_BxKxLxD: Latents, cutoff: Cutoff, words: int = 0
) -> Latents:
    """Mix components: latents from index `cutoff` on come from `other`.

    Words of a caption, before the global latent, are not counted and stay.

    Raises:
        ValueError: If w has no axis of layers, `other` is of another shape, or there are several
            cutoffs.
    """
    _check_pair(w_BxKxLxD, other_BxKxLxD)
    _check_scalars(cutoff=cutoff)
    count = w_BxKxLxD.shape[1]
    latent_K = jnp.arange(count)
    if words:
        own_K = jnp.where(latent_K == count - 1, count - 1 - words, latent_K)
        latent_K = jnp.where(_is_word(count, words), -1, own_K)
    latent = latent_K[None, :, None, None]
    return jnp.where(latent < cutoff, w_BxKxLxD, other_BxKxLxD)


def _check_layers(w: Latents) -> None:
    if w.ndim != 4:
        hint = "give [batch, latents, layers, width], as `broadcast_layers` returns"
        raise ValueError(f"w is {list(w.shape)}: {hint}")


def _check_pair(w: Latents, other: Latents) -> None:
    """Refuse latents that only broadcasting would make fit; a batch of one fits any batch."""
    _check_layers(w)
    _check_layers(other)
    batches = {w.shape[0], other.shape[0]}
    if w.shape[1:] != other.shape[1:] or (len(batches) > 1 and 1 not in batches):
        raise ValueError(f"w is {list(w.shape)} and other {list(other.shape)}: give one shape")


def _check_scalars(**numbers: Any) -> None:
    for name, number in numbers.items():
        if number is not None and jnp.ndim(number):
            raise ValueError(f"{name} is {list(jnp.shape(number))}: give one number")


def _is_word(count: int, words: int) -> Bool[Array, " k"]:
    """Return which of the vectors of w are words: those before the last."""
    place_K = jnp.arange(count)
    return (place_K >= count - 1 - words) & (place_K < count - 1)
