"""A plain GAN on the built-in scenes: no attention and no styles; the latent makes the first grid.

Data, discriminator and optimization are those of scenes_ganformer.py.

Command:   ganformer-jax train --config scenes_gan
Hardware:  two CPU cores
Cost:      six and a half minutes, with the scenes already rendered
Expected:  a few scenes over and over; the sliced Wasserstein distance falls from 305 to about 65
"""

import dataclasses

from ganformer_jax.config import GeneratorConfig, MappingConfig, SynthesisConfig
from ganformer_jax.config.files import load_config

config = dataclasses.replace(
    load_config("scenes_ganformer"),
    generator=GeneratorConfig(
        resolution=32,
        components=0,
        latent_size=256,
        mapping=MappingConfig(num_layers=8, residual=False, self_attention=False),
        synthesis=SynthesisConfig(
            architecture="orig",
            channel_base=1024,
            channel_max=64,
            style=False,
            stem="latent",
            last_convolution=False,
        ),
    ),
)
