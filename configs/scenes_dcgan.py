"""DCGAN (arXiv 1511.06434) on the built-in scenes: batch normalization, no attention, no styles.

Optimizer, initial weights and losses are those of the paper, and the generator is not averaged.
Data and length are those of scenes_ganformer.py.

Command:   ganformer-jax train --config scenes_dcgan
Hardware:  one CPU core
Cost:      eight minutes, with the scenes already rendered
Expected:  separate blobs of grainy colors; the sliced Wasserstein distance falls from 238 to 49
           (one run, 2026-11-28)
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

config = dataclasses.replace(
    load_config("scenes_ganformer"),
    generator=GeneratorConfig(
        network="dcgan",
        resolution=32,
        components=0,
        latent_size=100,
        synthesis=SynthesisConfig(channel_base=1024, channel_max=128, noise=False, style=False),
    ),
    discriminator=DiscriminatorConfig(
        network="dcgan", channel_base=1024, channel_max=128, minibatch_stddev_channels=0
    ),
    loss=LossConfig(r1_gamma=0.0, style_mixing=0.0),
    optimizer=OptimizerConfig(learning_rate=2e-4, beta1=0.5, beta2=0.999, ema_kimg=0.0),
)
