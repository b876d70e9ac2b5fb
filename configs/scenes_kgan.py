"""k-GAN on the built-in scenes: eight images, each of a latent of its own, merged at 8x8.

As the published k-GAN baseline: shared StyleGAN2 layers, a first grid for each image, and shares by
a softmax. Data, discriminator and optimization are those of scenes_ganformer.py.

Command:   ganformer-jax train --config scenes_kgan
Hardware:  one CPU core, with other work beside it
Cost:      about 20 minutes, with the scenes already rendered
Expected:  blobs of several colors in a few arrangements; the sliced Wasserstein distance falls from
           314 to 56, and the foreground ARI of the images that are merged is 0.27 (100 samples)
"""

import dataclasses

from ganformer_jax.config import MergeConfig
from ganformer_jax.config.files import load_config

stylegan2 = load_config("scenes_stylegan2")
config = dataclasses.replace(
    stylegan2,
    generator=dataclasses.replace(
        stylegan2.generator,
        merge=MergeConfig(images=8, resolution=8),
        synthesis=dataclasses.replace(stylegan2.generator.synthesis, architecture="resnet"),
    ),
)
