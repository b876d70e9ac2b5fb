"""GANformer on the built-in scenes with R3GAN's loss (arXiv 2501.05441): relativistic, R1 and R2.

Penalties are lazy, every 16 steps, where R3GAN's are in every step. Network, data and length are
those of scenes.py.

Command:   ganformer-jax train --config scenes_r3gan
Hardware:  two CPU cores
"""

import dataclasses

from ganformer_jax.config_files import load_config

scenes = load_config("scenes")
config = dataclasses.replace(
    scenes,
    loss=dataclasses.replace(
        scenes.loss, generator="relativistic", discriminator="relativistic", r2_gamma=0.3
    ),
)
