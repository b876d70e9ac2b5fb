"""SAGAN on ImageNet at 128x128, with its 1,000 classes, as in its paper (arXiv 1805.08318).

Spectral normalization in both networks, self-attention at 32x32, a hinge loss, a discriminator that
learns four times as fast, batches of 256, a million steps.

Data:      ganformer-jax prepare FOLDER --name imagenet --resolution 128 --labels folders
Command:   ganformer-jax train --config imagenet_sagan
Hardware:  accelerators that divide the batch of 256
Cost:      256,000 kimg; not measured here
Expected:  not trained here
"""

from ganformer_jax.config import (
    Config,
    DataConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    OptimizerConfig,
    SynthesisConfig,
    TrainConfig,
)

config = Config(
    generator=GeneratorConfig(
        network="sagan",
        resolution=128,
        components=0,
        latent_size=128,
        label_size=1000,
        image_attention_resolution=32,
        synthesis=SynthesisConfig(channel_base=8192, channel_max=1024, noise=False, style=False),
    ),
    discriminator=DiscriminatorConfig(
        network="sagan",
        channel_base=4096,
        channel_max=1024,
        minibatch_stddev_channels=0,
        label_logit="projection",
        image_attention_resolution=32,
    ),
    data=DataConfig(name="imagenet", threads=8),
    loss=LossConfig(generator="hinge", discriminator="hinge", r1_gamma=0.0, style_mixing=0.0),
    optimizer=OptimizerConfig(
        learning_rate=1e-4, discriminator_learning_rate=4e-4, beta2=0.9, ema_kimg=0.0
    ),
    train=TrainConfig(
        total_kimg=256_000.0, batch_size=256, log_kimg=16.0, image_kimg=200.0, metric_kimg=200.0
    ),
)
