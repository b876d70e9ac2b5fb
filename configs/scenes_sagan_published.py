"""SAGAN as in its paper (arXiv 1805.08318) on the built-in scenes.

Residual networks with spectral normalization, a hinge loss, a discriminator that learns four times
as fast, and self-attention at 16x16 in both. Data, length and the averaged generator, which the
paper does not have, are those of scenes_ganformer.py. The config scenes_sagan adds self-attention
to the plain GAN instead, as GANformer's code does.

Command:   ganformer-jax train --config scenes_sagan_published
Hardware:  one CPU core
Cost:      25 minutes, with the scenes already rendered
Expected:  blobs of several colors; after 20 thousand images the sliced Wasserstein distance has
           fallen from 229 to 54 (one run, 2026-11-28)
"""

import dataclasses

from ganformer_jax.config import (
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    OptimizerConfig,
    SynthesisConfig,
)
from ganformer_jax.config.files import load_config

scenes = load_config("scenes_ganformer")
config = dataclasses.replace(
    scenes,
    generator=GeneratorConfig(
        network="sagan",
        resolution=32,
        components=0,
        latent_size=128,
        image_attention_resolution=16,
        synthesis=SynthesisConfig(channel_base=1024, channel_max=64, noise=False, style=False),
    ),
    discriminator=DiscriminatorConfig(
        network="sagan",
        channel_base=1024,
        channel_max=64,
        minibatch_stddev_channels=0,
        image_attention_resolution=16,
    ),
    loss=LossConfig(generator="hinge", discriminator="hinge", r1_gamma=0.0, style_mixing=0.0),
    optimizer=OptimizerConfig(
        learning_rate=1e-4, discriminator_learning_rate=4e-4, beta2=0.9, ema_kimg=5.0
    ),
)
