"""Logits of images with labels, and how alike images and labels are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax.numpy as jnp

from ganformer_jax.config import DiscriminatorConfig, MappingConfig
from ganformer_jax.models.captions import read_captions
from ganformer_jax.models.mapping import MappingBranch
from ganformer_jax.models.text_encoder import TextEncoder
from ganformer_jax.nn.layers import EqualizedDense, rms_normalize

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    ReadLabels = Callable[[Float[Array, "b y"]], Float[Array, "b d"]]


def label_reader(config: DiscriminatorConfig, channels: int) -> ReadLabels:
    """Return a function from labels to the vectors that those of images are compared with.

    Call this in a compact method of the discriminator: the parameters become its own. The vector of
    a caption is that of `read_captions`; with `label_logit` "embedding" a mapping network makes the
    vector (Karras et al. 2020, arXiv 2006.06676); otherwise it is the label.

    Args:
        config: The discriminator.
        channels: Width of the features before the logit.
    """
    encoder = TextEncoder(config.text, name="text") if config.text.vocabulary else None
    mapper = _label_mapper(config, channels) if config.label_logit == "embedding" else None

    def read(labels_BxY: Array) -> Array:
        if encoder is not None:
            labels_BxY = read_captions(encoder, labels_BxY).vector_BxD
        return labels_BxY if mapper is None else mapper(labels_BxY)

    return read


def _label_mapper(config: DiscriminatorConfig, channels: int) -> ReadLabels:
    """Return the mapping network of labels."""
    options = config.label_mapping
    width = options.width or channels
    embed = EqualizedDense(options.embedding_width or width, name="label_embedding")
    mapping = MappingConfig(
        num_layers=options.num_layers - 1,  # without the output layer
        residual=False,
        width=options.hidden_width,
        last_hidden_width=options.hidden_width,
        learning_rate_multiplier=options.learning_rate_multiplier,
    )
    branch = MappingBranch(mapping, width, name="label_mapping") if options.num_layers else None

    def read(labels_BxY: Array) -> Array:
        embedding = rms_normalize(embed(labels_BxY.astype(jnp.float32)))
        return embedding if branch is None else branch(embedding)

    return read


def label_logits(
    config: DiscriminatorConfig,
    x_BxC: Float[Array, "b c"],
    read: ReadLabels,
    labels_BxY: Float[Array, "b y"],
    others_NxY: Float[Array, "n y"] | None = None,
) -> tuple[Float[Array, "b 1"], Float[Array, "b n"] | None]:
    """Return the logits of images with their labels, and how alike images and all labels are.

    Args:
        config: The discriminator, whose `label_logit` says how labels decide.
        x_BxC: Features before the logit.
        read: Function that `label_reader` returns.
        labels_BxY: The label of each image.
        others_NxY: Labels of any images.

    Returns:
        Logits; and the cosines between vectors of images and those of `others_NxY`, None without
        these.
    """
    vector_BxD = read(labels_BxY).astype(jnp.float32)
    image_BxD = EqualizedDense(vector_BxD.shape[-1], name="output")(x_BxC)
    logits_Bx1 = jnp.sum(image_BxD * vector_BxD, 1, keepdims=True)
    if config.label_logit == "embedding":
        logits_Bx1 /= math.sqrt(vector_BxD.shape[-1])
    elif config.label_logit == "projection":
        logits_Bx1 += EqualizedDense(1, name="unconditional")(x_BxC)
    if others_NxY is None:
        return logits_Bx1, None
    other_NxD = read(others_NxY).astype(jnp.float32)
    units = _unit(image_BxD), _unit(other_NxD).T
    return logits_Bx1, jnp.matmul(*units, precision="highest")


def _unit(vectors: Float[Array, "b d"]) -> Float[Array, "b d"]:
    """Return vectors of length 1."""
    return rms_normalize(vectors) / math.sqrt(vectors.shape[-1])
