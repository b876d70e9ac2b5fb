"""Self-attention of image positions at 16x16, as in SAGAN, on the built-in scenes.

As the published SAGAN baseline is meant: a plain GAN whose image positions attend to each other at
one resolution of the generator, without spectral normalization or a hinge loss. Data, discriminator
and optimization are those of scenes_ganformer.py.

Command:   ganformer-jax train --config scenes_sagan
Hardware:  one CPU core, with other work beside it
Cost:      25 to 30 minutes, with the scenes already rendered
Expected:  the sliced Wasserstein distance falls from 246 to 42
"""

import dataclasses

from ganformer_jax.config.files import load_config

gan = load_config("scenes_gan")
config = dataclasses.replace(
    gan, generator=dataclasses.replace(gan.generator, image_attention_resolution=16)
)
