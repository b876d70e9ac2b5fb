"""GANformer on 500 of the built-in scenes, with the loss that served best there.

Relativistic, R1 and R2 (R3GAN, arXiv 2501.05441), lazy as in scenes_r3gan.py, without augmentation:
docs/small-data.md compares seven ways.

Command:   ganformer-jax train --config scenes_small_data
Hardware:  one CPU core
Cost:      14 to 20 minutes, with the scenes already rendered
Expected:  rounded objects of one color or two, some joined; the sliced Wasserstein distance to
           held-out scenes falls to between 20 and 26 (three seeds, 2026-11-28 and 29)
"""

import dataclasses

from ganformer_jax.config.files import load_config

scenes = load_config("scenes_r3gan")
config = dataclasses.replace(
    scenes,
    data=dataclasses.replace(scenes.data, train_images=500),
    train=dataclasses.replace(scenes.train, total_kimg=40.0),
)
