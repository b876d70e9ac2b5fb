"""StyleGAN2 on the built-in scenes: skip synthesis and plain mapping, one latent, no attention.

Data, discriminator and optimization are those of scenes_ganformer.py, style mixing off included.

Command:   ganformer-jax train --config scenes_stylegan2
Hardware:  two CPU cores
Cost:      six and a half minutes, with the scenes already rendered
Expected:  blobs of a color or two; the sliced Wasserstein distance falls from 268 to about 47
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
            architecture="skip", channel_base=1024, channel_max=64, last_convolution=False
        ),
    ),
)
