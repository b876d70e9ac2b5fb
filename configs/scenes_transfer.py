"""GANformer on the built-in scenes at 64x64, meant to start from a run at 32x32.

The blocks up to 32x32 are taken from a run of scenes_ganformer.py, those of 64x64 are new. Without
`--init-from` it trains from scratch.

Command:   ganformer-jax train --config scenes_transfer --init-from runs/scenes_ganformer
Hardware:  one CPU core
Cost:      about 13 minutes, with the scenes already rendered
Expected:  the sliced Wasserstein distance falls from 166 to 48 in 10 thousand images; from scratch
           it falls to 68 (one run each, 2026-11-28)
"""

import dataclasses

from ganformer_jax.config.files import load_config

scenes = load_config("scenes_ganformer")
config = dataclasses.replace(
    scenes,
    generator=dataclasses.replace(scenes.generator, resolution=64),
    train=dataclasses.replace(scenes.train, total_kimg=10.0, metric_kimg=2.0),
)
