"""Tiny networks that read captions, and batches for them."""

import dataclasses
import functools

import jax
import numpy as np
from tiny import random_batch, random_variables, tiny_config

from ganformer_jax import Generator
from ganformer_jax.config import AttentionConfig
from ganformer_jax.config.text import TextEncoderConfig

TEXT = TextEncoderConfig(
    layers=1,
    width=8,
    heads=2,
    hidden_width=8,
    vocabulary=12,
    longest=8,
    learning_rate_multiplier=1.0,
)
TOKENS = 6
"""Tokens of the longest caption."""


def with_captions(config, **options):
    """The same networks for images with captions."""
    generator = dataclasses.replace(
        config.generator,
        label_size=TOKENS,
        text=TEXT,
        attention=AttentionConfig(kmeans_iterations=0),
        **options,
    )
    discriminator = dataclasses.replace(config.discriminator, text=TEXT, label_logit="projection")
    return dataclasses.replace(config, generator=generator, discriminator=discriminator)


CAPTIONED = with_captions(tiny_config(path_length_weight=2.0, component_mixing=0.5))


def captions(count, seed=0):
    """Tokens that a seed decides: [CLS] first, [SEP] last, then padding."""
    random = np.random.default_rng(seed)
    labels = np.zeros((count, TOKENS), np.float32)
    for row in labels:
        length = int(random.integers(1, TOKENS - 1))
        row[0], row[1 + length] = 1, 2
        row[1 : 1 + length] = random.integers(3, TEXT.vocabulary, length)
    return labels


def captioned_batch(number, batch=16):
    """A batch that its number decides, with captions."""
    return random_batch(number, batch) | {"labels": captions(batch, number)}


def random_generator(config, seed=1):
    """A generator that reads captions, and random variables; nothing is compiled."""
    generator = Generator(config)
    z_1xKxD = np.zeros((1, config.num_latents, config.z_size), np.float32)
    init = functools.partial(generator.init, noise="const")
    make = functools.partial(init, jax.random.key(0), z_1xKxD, captions(1)[:, : config.label_size])
    return generator, random_variables(make, seed)
