"""DCGAN on LSUN bedrooms at 64x64, as in its paper (arXiv 1511.06434, sections 3 and 4.1).

Batch normalization, weights from N(0, 0.02^2), Adam with a rate of 0.0002 and beta1 of 0.5, batches
of 128, and five times the paper's three million images.

Data:      ganformer-jax prepare FOLDER --name bedrooms_64 --resolution 64
Command:   ganformer-jax train --config bedrooms_dcgan
Hardware:  one or more accelerators that divide the batch of 128
Cost:      15,000 kimg; not measured here
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
        network="dcgan",
        resolution=64,
        components=0,
        latent_size=100,
        synthesis=SynthesisConfig(channel_base=4096, channel_max=1024, noise=False, style=False),
    ),
    discriminator=DiscriminatorConfig(
        network="dcgan", channel_base=4096, channel_max=1024, minibatch_stddev_channels=0
    ),
    data=DataConfig(name="bedrooms_64", threads=8),
    loss=LossConfig(r1_gamma=0.0, style_mixing=0.0),
    optimizer=OptimizerConfig(learning_rate=2e-4, beta1=0.5, beta2=0.999, ema_kimg=0.0),
    train=TrainConfig(total_kimg=15_000.0, batch_size=128),
)
