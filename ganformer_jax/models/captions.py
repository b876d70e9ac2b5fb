"""Captions as networks read them: labels that hold tokens, encoded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp

from ganformer_jax.models.text_encoder import PADDING, TextEncoder
from ganformer_jax.nn.layers import rms_normalize

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class Caption(NamedTuple):
    """Encoded captions, float32."""

    tokens_BxTxD: Float[Array, "b t d"]
    """A vector for each token, zeros for padding."""
    visible_BxT: Float[Array, "b t"]
    """1 for tokens, 0 for padding."""
    vector_BxD: Float[Array, "b d2"]
    """A vector of length 1 for the whole caption, as a one-hot label has."""


def read_captions(encoder: TextEncoder, labels_BxY: Float[Array, "b y"] | None) -> Caption:
    """Encode captions.

    The vector of a caption is the pooled one beside the mean over tokens. A new encoder's pooled
    vector hardly depends on the words, and the mean does from the first step on (it is also the
    better one of a published encoder that is not trained for it: arXiv 1908.10084, section 6).

    Args:
        encoder: The encoder.
        labels_BxY: Tokens as whole numbers, which float32 holds exactly; 0 for padding.

    Raises:
        ValueError: If there are no labels, or more tokens than the encoder reads.
    """
    if labels_BxY is None:
        raise ValueError("this network needs captions, as labels [batch, tokens]")
    tokens_BxT = jnp.round(labels_BxY).astype(jnp.int32)
    tokens_BxTxD, pooled_BxD = encoder(tokens_BxT)
    visible_BxT = (tokens_BxT != PADDING).astype(jnp.float32)
    tokens_BxTxD = tokens_BxTxD * visible_BxT[..., None]
    count_Bx1 = jnp.maximum(visible_BxT.sum(1, keepdims=True), 1.0)
    vector_BxD = jnp.concatenate([pooled_BxD, tokens_BxTxD.sum(1) / count_Bx1], -1)
    vector_BxD = rms_normalize(vector_BxD) / math.sqrt(vector_BxD.shape[-1])
    return Caption(tokens_BxTxD, visible_BxT, vector_BxD)


def insert_words(
    w_BxKxD: Float[Array, "b k *d"], words_BxTxD: Float[Array, "b t *d"]
) -> Float[Array, "b k2 *d"]:
    """Return w with words before the global latent, which stays the last."""
    return jnp.concatenate([w_BxKxD[:, :-1], words_BxTxD, w_BxKxD[:, -1:]], 1)


def without_words(w_BxKxD: Float[Array, "b k2 *d"], words: int) -> Float[Array, "b k *d"]:
    """Return w without its words: components and, last, the global latent."""
    if not words:
        return w_BxKxD
    return jnp.concatenate([w_BxKxD[:, : -1 - words], w_BxKxD[:, -1:]], 1)


def visible_words(words_BxTxD: Float[Array, "b t d"]) -> Float[Array, "b t"]:
    """Return 1 for words and 0 for padding, whose vectors are zeros."""
    return jnp.any(words_BxTxD != 0, -1).astype(jnp.float32)
