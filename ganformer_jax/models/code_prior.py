"""The prior over images as one model: codes of images, and the transformer that predicts them.

Section 3.2 of VQGAN (arXiv 2012.09841): codes are read in rows, from the top left on, behind a
prefix: the class or the tokens of the caption, or one token that starts every image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from ganformer_jax.config.prior import PriorConfig
from ganformer_jax.models.causal_transformer import CausalTransformer, empty_cache
from ganformer_jax.models.input_checks import check_shape
from ganformer_jax.models.vq_autoencoder import Decoder, Encoder, nearest_codes

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int, Key

Tree = Any


def in_float32(config: PriorConfig) -> PriorConfig:
    """Return the config of the same networks with float32 activations, as samples have them."""
    return dataclasses.replace(
        config,
        autoencoder=dataclasses.replace(config.autoencoder, dtype="float32"),
        transformer=dataclasses.replace(config.transformer, dtype="float32"),
    )


def transformer_of(config: PriorConfig) -> CausalTransformer:
    """Return the transformer over the codes of an experiment."""
    return CausalTransformer(config.transformer, config.vocabulary, config.longest)


def encode(
    config: PriorConfig, params: Mapping[str, Tree], images_BxHxWxC: Float[Array, "b h w c"]
) -> Float[Array, "b h2 w2 d"]:
    """Return the encoder's vectors of images in [-1, 1]; `params` are of the autoencoder."""
    encoder = Encoder(config.autoencoder, config.codebook.width)
    vectors: Any = encoder.apply({"params": params["encoder"]}, images_BxHxWxC)
    return vectors


def codes_of(
    config: PriorConfig,
    params: Mapping[str, Tree],
    codebook_MxD: Float[Array, "m d"],
    images_BxHxWxC: Float[Array, "b h w c"],
) -> Int[Array, "b t"]:
    """Return the codes of images in [-1, 1], row by row."""
    codes_BxHxW = nearest_codes(encode(config, params, images_BxHxWxC), codebook_MxD)
    return codes_BxHxW.reshape(codes_BxHxW.shape[0], -1)


def decode_codes(
    config: PriorConfig,
    params: Mapping[str, Tree],
    codebook_MxD: Float[Array, "m d"],
    codes_BxT: Int[Array, "b t"],
) -> Float[Array, "b h w c"]:
    """Return images, about in [-1, 1], of codes row by row."""
    codes_BxHxW = codes_BxT.reshape(codes_BxT.shape[0], *config.autoencoder.code_size)
    decoder, vectors_BxHxWxD = Decoder(config.autoencoder), jnp.asarray(codebook_MxD)[codes_BxHxW]
    images, _ = decoder.apply({"params": params["decoder"]}, vectors_BxHxWxD)
    return images


def prefix_tokens(
    config: PriorConfig, labels_BxY: Float[Array, "b y"] | None, count: int
) -> Int[Array, "b t"]:
    """Return the tokens before the codes, which follow those of the codes in the vocabulary.

    Args:
        config: The experiment.
        labels_BxY: Classes one-hot, or tokens of captions as whole numbers; not read by an
            unconditional prior.
        count: Number of images.

    Raises:
        ValueError: If labels are missing, or of another shape.
    """
    entries, options = config.codebook.entries, config.prior
    if not options.label_size:
        return jnp.full((count, 1), entries)
    shape = count, options.label_size
    if labels_BxY is None:
        raise ValueError(f"this prior needs labels {list(shape)}")
    check_shape("labels", labels_BxY, shape)
    if options.vocabulary:
        return entries + jnp.round(labels_BxY).astype(jnp.int32)
    return entries + jnp.argmax(labels_BxY, -1)[:, None]


def code_logits(
    config: PriorConfig,
    params: Tree,
    prefix_BxT: Int[Array, "b t"],
    codes_BxT: Int[Array, "b t2"],
) -> Float[Array, "b t2 y"]:
    """Return the logits of each code, given the prefix and the codes before it."""
    tokens_BxF = jnp.concatenate([prefix_BxT, codes_BxT[:, :-1]], 1)
    logits_BxFxY, _ = transformer_of(config).apply({"params": params}, tokens_BxF)
    return logits_BxFxY[:, prefix_BxT.shape[1] - 1 :, : config.codebook.entries]


def cross_entropy(
    logits_BxTxY: Float[Array, "b t y"], codes_BxT: Int[Array, "b t"]
) -> Float[Array, " b"]:
    """Return the mean over codes of -log p(code), in nats (equation 9)."""
    logs_BxTxY = jax.nn.log_softmax(logits_BxTxY, -1)
    return -jnp.take_along_axis(logs_BxTxY, codes_BxT[..., None], -1)[..., 0].mean(1)


def draw_code(
    logits_BxY: Float[Array, "b y"],
    keys_B: Key[Array, " b"],
    temperature: Float[Array, ""],
    top_k: int,
) -> Int[Array, " b"]:
    """Draw a code for each image.

    Args:
        logits_BxY: Logits of all codes.
        keys_B: Random key of each image.
        temperature: Divisor of the logits; with 0 the most probable code is chosen.
        top_k: Number of most probable codes to draw from; 0 for all.
    """
    count = top_k or logits_BxY.shape[-1]
    kept_BxY, codes_BxY = jax.lax.top_k(logits_BxY, count)
    noise_BxY = jax.vmap(lambda key: jax.random.gumbel(key, (count,)))(keys_B)
    chosen_B = jnp.argmax(kept_BxY + temperature * noise_BxY, -1)  # as logits / temperature + noise
    return jnp.take_along_axis(codes_BxY, chosen_B[:, None], -1)[:, 0]


def sample_codes(
    config: PriorConfig,
    params: Tree,
    prefix_BxT: Int[Array, "b t"],
    keys_B: Key[Array, " b"],
    temperature: float | Float[Array, ""] = 1.0,
    top_k: int = 0,
) -> Int[Array, "b t2"]:
    """Draw the codes of images one after the other, keys and values of the earlier ones cached.

    Args:
        config: The experiment.
        params: Parameters of the transformer.
        prefix_BxT: Tokens before the codes.
        keys_B: Random key of each image, on which alone its codes depend.
        temperature: See `draw_code`.
        top_k: See `draw_code`.
    """
    transformer, batch = transformer_of(config), prefix_BxT.shape[0]

    def draw(logits_BxFxY: Array, place: int | Array) -> Int[Array, " b"]:
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys_B, place)
        logits_BxY = logits_BxFxY[:, -1, : config.codebook.entries]
        return draw_code(logits_BxY, keys, jnp.float32(temperature), top_k)

    def step(before: tuple[Any, Array], place: Array) -> tuple[tuple[Any, Array], Array]:
        cache, code_B = before
        logits, cache = transformer.apply({"params": params}, code_B[:, None], cache)
        code_B = draw(logits, place)
        return (cache, code_B), code_B

    cache = empty_cache(config.transformer, batch, config.longest)
    logits, cache = transformer.apply({"params": params}, prefix_BxT, cache)
    first_B = draw(logits, 0)
    places = jnp.arange(1, config.autoencoder.code_count)
    _, rest_TxB = jax.lax.scan(step, (cache, first_B), places)
    return jnp.concatenate([first_B[:, None], rest_TxB.T], 1)
