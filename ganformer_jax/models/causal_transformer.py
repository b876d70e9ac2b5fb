"""A causal transformer, that of GPT-2.

A. Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section 2.3. Each
layer is self-attention among a token and those before it, and a feed-forward network (arXiv
1706.03762, sections 3.2 and 3.3); both normalize their input, and are added to it. The activation
is the approximation of the GELU with tanh (arXiv 1606.08415). Logits are products with the vectors
of the tokens.

Attention reads keys and values from a cache, where those of the new tokens are written first. A
whole sequence starts from an empty cache of its own length; a sampled one is read token by token.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from ganformer_jax.config.prior import TransformerConfig
from ganformer_jax.nn.initialize import normal

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int

    Keys = Float[Array, "b t n d"]

DEVIATION = 0.02
"""Standard deviation of initial weights."""
HIDDEN_SCORE = -1e9
"""The attention score of tokens that a token must not see."""


class Cache(NamedTuple):
    """Keys and values of the tokens read so far, and zeros for those to come."""

    layers: tuple[tuple[Keys, Keys], ...]
    """Keys and values of each layer."""
    length: Int[Array, ""]
    """Tokens read so far."""


def empty_cache(config: TransformerConfig, batch: int, longest: int) -> Cache:
    """Return the cache of `batch` sequences before the first token.

    Args:
        config: The transformer.
        batch: Number of sequences.
        longest: Tokens that will be read.
    """
    shape = batch, longest, config.heads, config.width // config.heads
    zeros = jnp.zeros(shape, config.dtype)
    return Cache(((zeros, zeros),) * config.layers, jnp.zeros((), jnp.int32))


def attend(
    queries_BxFxNxD: Float[Array, "b f n d"],
    keys_BxTxNxD: Keys,
    values_BxTxNxD: Keys,
    start: Int[Array, ""],
) -> Float[Array, "b f n d"]:
    """Return what each query gathers from tokens up to its own place.

    Args:
        queries_BxFxNxD: Queries of the tokens from place `start` on.
        keys_BxTxNxD: Keys of all places.
        values_BxTxNxD: Values of all places.
        start: Place of the first query.
    """
    scores = jnp.einsum("bfnd,btnd->bnft", queries_BxFxNxD, keys_BxTxNxD)
    scores = scores.astype(jnp.float32) / math.sqrt(queries_BxFxNxD.shape[-1])
    own_F = start + jnp.arange(queries_BxFxNxD.shape[1])
    places_T = jnp.arange(keys_BxTxNxD.shape[1])
    seen_FxT = places_T[None, :] <= own_F[:, None]
    shares = jax.nn.softmax(jnp.where(seen_FxT[None, None], scores, HIDDEN_SCORE), -1)
    return jnp.einsum("bnft,btnd->bfnd", shares.astype(values_BxTxNxD.dtype), values_BxTxNxD)


class DecoderLayer(nn.Module):
    """Causal self-attention, then a feed-forward network.

    Attributes:
        config: The transformer.
    """

    config: TransformerConfig

    @nn.compact
    def __call__(
        self, x_BxFxD: Float[Array, "b f d"], cached: tuple[Keys, Keys], start: Int[Array, ""]
    ) -> tuple[Float[Array, "b f d"], tuple[Keys, Keys]]:
        """Return updated tokens; and the cached keys and values with theirs, from `start` on."""
        config, width = self.config, self.config.width
        y_BxFxD = self._norm("attention_norm", x_BxFxD)
        projected = self._dense("attention", 3 * width, y_BxFxD)
        shape = *projected.shape[:2], 3, config.heads, width // config.heads
        queries, *new = jnp.moveaxis(projected.reshape(shape), 2, 0)
        keys, values = (
            lax.dynamic_update_slice(old, added, (0, start, 0, 0))
            for old, added in zip(cached, new, strict=True)
        )
        gathered = attend(queries, keys, values, start).reshape(x_BxFxD.shape)
        x_BxFxD = x_BxFxD + self._dense("attended", width, gathered, residual=True)
        y_BxFxD = self._norm("norm", x_BxFxD)
        hidden = nn.gelu(self._dense("hidden", config.hidden_width, y_BxFxD), approximate=True)
        x_BxFxD = x_BxFxD + self._dense("output", width, hidden, residual=True)
        return x_BxFxD, (keys, values)

    def _norm(self, name: str, x: Array) -> Array:
        return nn.LayerNorm(self.config.epsilon, dtype=x.dtype, name=name)(x)

    def _dense(self, name: str, features: int, x: Array, residual: bool = False) -> Array:
        """Apply a dense layer; the more layers, the smaller those before a sum are at first."""
        deviation = DEVIATION / math.sqrt(2 * self.config.layers) if residual else DEVIATION
        layer = nn.Dense(features, dtype=x.dtype, kernel_init=normal(deviation), name=name)
        return layer(x)


def _check_room(cache: Cache, count: int, longest: int) -> None:
    """Raise `ValueError` if new tokens do not fit after those in the cache."""
    held = cache.layers[0][0].shape[1]
    try:
        known = int(cache.length)
    except jax.errors.ConcretizationTypeError:  # inside of `jax.jit`
        known = 0
    if known + count > held:
        raise ValueError(f"a cache of {held} tokens has no room for {count} after {known}")
    if known + count > longest:
        tokens = f"{known + count} tokens{f', {known} of them in the cache' if known else ''}"
        raise ValueError(f"{tokens}, and the transformer reads at most {longest}")


class CausalTransformer(nn.Module):
    """Tokens to the logits of the token that follows each.

    Attributes:
        config: The transformer.
        vocabulary: Number of different tokens.
        longest: Tokens of the longest sequence.
    """

    config: TransformerConfig
    vocabulary: int
    longest: int

    @nn.compact
    def __call__(
        self, tokens_BxF: Int[Array, "b f"], cache: Cache | None = None
    ) -> tuple[Float[Array, "b f y"], Cache]:
        """Read tokens, those from place `cache.length` on, or without a cache from the first on.

        Args:
            tokens_BxF: Tokens, from 0 to `vocabulary` - 1.
            cache: Cache that an earlier call returned, or `empty_cache`; None for none.

        Returns:
            Logits of the token after each, float32; and the cache with the tokens.

        Raises:
            ValueError: If there are more tokens, with those read before, than `longest`, or than
                the cache holds. Inside of `jax.jit`, where the number of those before is not known,
                only the new ones are compared.
        """
        config, (batch, count) = self.config, tokens_BxF.shape
        cache = empty_cache(config, batch, count) if cache is None else cache
        _check_room(cache, count, self.longest)
        words = self.param("words", normal(DEVIATION), (self.vocabulary, config.width))
        places = self.param("places", normal(DEVIATION / 2), (self.longest, config.width))
        own_FxD = lax.dynamic_slice_in_dim(places, cache.length, count)
        # Parameters may be NumPy's, which traced tokens cannot index.
        x_BxFxD = (jnp.asarray(words)[tokens_BxF] + own_FxD[None]).astype(config.dtype)
        layers = []
        for number, cached in enumerate(cache.layers):
            layer = DecoderLayer(config, name=f"layer_{number}")
            x_BxFxD, cached = layer(x_BxFxD, cached, cache.length)
            layers.append(cached)
        x_BxFxD = nn.LayerNorm(config.epsilon, name="norm")(x_BxFxD.astype(jnp.float32))
        logits_BxFxY = jnp.einsum("bfd,yd->bfy", x_BxFxD, words)
        return logits_BxFxY, Cache(tuple(layers), cache.length + count)
