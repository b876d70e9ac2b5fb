"""Encoder of captions: the bidirectional transformer of BERT (arXiv 1810.04805).

Each layer is self-attention and a feed-forward network (arXiv 1706.03762, sections 3.2 and 3.3),
each followed by a residual sum and layer normalization. The activation is the exact GELU (arXiv
1606.08415). The vector of the first token, [CLS], stands for the whole text.

Parameters are stored divided by `learning_rate_multiplier`, as those of `EqualizedDense`: the steps
of Adam have one size for all parameters, and those of an encoder are small from the start.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganformer_jax.config.text import TextEncoderConfig
from ganformer_jax.nn.initialize import normal

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int

DEVIATION = 0.02
"""Standard deviation of initial weights, as published."""
PADDING = 0
"""The token that fills up a text."""
HIDDEN_SCORE = -1e9
"""Added to the attention scores of padding."""


class TextEncoder(nn.Module):
    """Tokens to a vector for each, and one for the text.

    Attributes:
        config: The encoder.
    """

    config: TextEncoderConfig

    @nn.compact
    def __call__(
        self, tokens_BxT: Int[Array, "b t"]
    ) -> tuple[Float[Array, "b t d"], Float[Array, "b d"]]:
        """Encode texts.

        Args:
            tokens_BxT: Tokens below `config.vocabulary`: [CLS] first, `PADDING` behind the text.

        Returns:
            A vector for each token, those of padding without a meaning; and one in (-1, 1) for the
            text. Float32.

        Raises:
            ValueError: If tokens are of another rank, or more than `config.longest`; or
                `config.vocabulary` is 0.
            TypeError: If they are not integers.
        """
        config = self.config
        if tokens_BxT.ndim != 2:
            raise ValueError(f"tokens {list(tokens_BxT.shape)}: give [batch, tokens]")
        if not jnp.issubdtype(tokens_BxT.dtype, jnp.integer):
            raise TypeError(f"tokens are {tokens_BxT.dtype}: give integers")
        if not config.vocabulary:
            raise ValueError("the vocabulary of the encoder is 0: set it to the number of tokens")
        length = tokens_BxT.shape[1]
        if length > config.longest:
            raise ValueError(f"{length} tokens, and the encoder reads at most {config.longest}")
        visible_BxT = tokens_BxT != PADDING
        x_BxTxD = self._embed(tokens_BxT)
        for number in range(config.layers):
            x_BxTxD = EncoderLayer(config, name=f"layer_{number}")(x_BxTxD, visible_BxT)
        pooled = _Dense(config, config.width, name="pooler")(x_BxTxD[:, 0])
        return x_BxTxD, jnp.tanh(pooled)

    def _embed(self, tokens_BxT: Int[Array, "b t"]) -> Float[Array, "b t d"]:
        """Return normalized sums of the vectors of tokens, of their places and of the segment."""
        config = self.config

        def table(name: str, count: int) -> Array:
            initial = normal(DEVIATION / config.learning_rate_multiplier)
            stored = self.param(name, initial, (count, config.width))
            # Parameters may be NumPy's, which traced tokens cannot index.
            return jnp.asarray(stored) * config.learning_rate_multiplier

        words = table("words", config.vocabulary)
        places = table("places", config.longest)
        segments = table("segments", config.segments)
        x_BxTxD = words[tokens_BxT] + (places[: tokens_BxT.shape[1]] + segments[:1])[None]
        return nn.LayerNorm(config.epsilon, name="norm")(x_BxTxD)


class EncoderLayer(nn.Module):
    """Self-attention among visible tokens, then a feed-forward network.

    Attributes:
        config: The encoder.
    """

    config: TextEncoderConfig

    @nn.compact
    def __call__(self, x_BxTxD: Float[Array, "b t d"], visible_BxT: Array) -> Float[Array, "b t d"]:
        """Return updated tokens."""
        config = self.config
        attended = _Dense(config, config.width, name="attended")(self._attend(x_BxTxD, visible_BxT))
        x_BxTxD = nn.LayerNorm(config.epsilon, name="attention_norm")(x_BxTxD + attended)
        hidden = _Dense(config, config.hidden_width, name="hidden")(x_BxTxD)
        output = _Dense(config, config.width, name="output")(nn.gelu(hidden, approximate=False))
        return nn.LayerNorm(config.epsilon, name="norm")(x_BxTxD + output)

    def _attend(self, x_BxTxD: Array, visible_BxT: Array) -> Float[Array, "b t d"]:
        """Return what every token gathers from the visible ones, all heads side by side."""
        config = self.config
        heads = *x_BxTxD.shape[:2], config.heads, config.width // config.heads
        names = ("queries", "keys", "values")
        width = config.width
        queries, keys, values = (
            _Dense(config, width, name=name)(x_BxTxD).reshape(heads) for name in names
        )
        scores = jnp.einsum("bsnd,btnd->bnst", queries, keys) / math.sqrt(heads[-1])
        scores = scores + jnp.where(visible_BxT, 0.0, HIDDEN_SCORE)[:, None, None]
        gathered = jnp.einsum("bnst,btnd->bsnd", jax.nn.softmax(scores, -1), values)
        return gathered.reshape(x_BxTxD.shape)


class _Dense(nn.Module):
    """A dense layer of an encoder."""

    config: TextEncoderConfig
    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d2"]:
        """Map the last axis."""
        multiplier = self.config.learning_rate_multiplier
        initial = normal(DEVIATION / multiplier)
        kernel = self.param("kernel", initial, (x.shape[-1], self.features)) * multiplier
        bias = self.param("bias", nn.initializers.zeros, (self.features,)) * multiplier
        return x @ kernel + bias.reshape((1,) * (x.ndim - 1) + (-1,))
