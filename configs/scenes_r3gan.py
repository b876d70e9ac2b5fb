"""GANformer on the built-in scenes with R3GAN's loss (arXiv 2501.05441): relativistic, R1 and R2.

Penalties are lazy, every 16 steps, where R3GAN's are in every step. Network, data and length are
those of scenes_ganformer.py.

Command:   ganformer-jax train --config scenes_r3gan
Hardware:  one CPU core, with other work beside it
Cost:      29 minutes, with the scenes already rendered
Expected:  objects of one color or two, some blurred into each other; the sliced Wasserstein
           distance falls from 211 to 23 (one run, 2026-11-28)
"""

import dataclasses

from ganformer_jax.config.files import load_config

scenes = load_config("scenes_ganformer")
config = dataclasses.replace(
    scenes,
    loss=dataclasses.replace(
        scenes.loss, generator="relativistic", discriminator="relativistic", r2_gamma=0.3
    ),
)
