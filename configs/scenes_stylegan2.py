"""StyleGAN2 on the built-in scenes: skip synthesis and plain mapping, one latent, no attention.

Data, widths and optimization are those of scenes.py, style mixing off included.

Command:   python run.py train --config configs/scenes_stylegan2.py
Hardware:  two CPU cores
Cost:      six and a half minutes, with the scenes already drawn
Expected:  blobs of a color or two; the sliced Wasserstein distance falls from 268 to about 47
"""

from ganformer_jax.config import (
    Config,
    DataConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    MappingConfig,
    OptimizerConfig,
    SynthesisConfig,
    TrainConfig,
)

config = Config(
    generator=GeneratorConfig(
        resolution=32,
        components=0,
        latent_size=256,
        mapping=MappingConfig(num_layers=8, residual=False, self_attention=False),
        synthesis=SynthesisConfig(
            architecture="skip", channel_base=1024, channel_max=64, last_convolution=False
        ),
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
