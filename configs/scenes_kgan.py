"""k-GAN on the built-in scenes: eight images, each of a latent of its own, merged at 8x8.

As the published k-GAN baseline: shared StyleGAN2 layers, a first grid for each image, and shares by
a softmax. Data, discriminator and optimization are those of scenes.py.

Command:   ganformer-jax train --config scenes_kgan
Hardware:  one CPU core, with other work beside it
Cost:      about 20 minutes, with the scenes already rendered
Expected:  blobs of several colors in a few arrangements; the sliced Wasserstein distance falls from
           314 to 56, and the foreground ARI of the images that are merged is 0.27 (100 samples)
"""

import dataclasses

from ganformer_jax.config import GeneratorConfig, MappingConfig, MergeConfig, SynthesisConfig
from ganformer_jax.config_files import load_config

config = dataclasses.replace(
    load_config("scenes"),
    generator=GeneratorConfig(
        resolution=32,
        components=0,
        latent_size=256,
        mapping=MappingConfig(num_layers=8, residual=False, self_attention=False),
        merge=MergeConfig(images=8, resolution=8),
        synthesis=SynthesisConfig(
            architecture="resnet", channel_base=1024, channel_max=64, last_convolution=False
        ),
    ),
)
