"""GANformer as published, with duplex attention, on the built-in scenes at 32x32.

Command:   ganformer-jax train --config scenes_ganformer
Hardware:  two CPU cores
Cost:      ten to nineteen minutes, by the machine, rendering the scenes included
Expected:  separate shaded objects on a ground plane; the sliced Wasserstein distance falls from
           about 200 to between 28 and 38
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
        resolution=32,
        components=8,
        latent_size=256,
        attention_resolutions=(4, 32),
        synthesis=SynthesisConfig(channel_base=1024, channel_max=64),
    ),
    discriminator=DiscriminatorConfig(channel_base=1024, channel_max=64),
    data=DataConfig(name="scenes", train_images=20_000, held_out_images=2_000),
    loss=LossConfig(r1_gamma=0.3, style_mixing=0.0),
    optimizer=OptimizerConfig(learning_rate=2.5e-3, ema_kimg=5.0),
    train=TrainConfig(
        total_kimg=50.0,
        batch_size=16,
        log_kimg=1.0,
        image_kimg=10.0,
        metric_kimg=10.0,
        checkpoint_kimg=10.0,
    ),
)
