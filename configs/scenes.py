"""Scenes, the config of `train`: 32x32 images of a few simple objects, each with a component.

GANformer (scenes_ganformer.py) whose components have places: an ellipse for each, made from its
latent, is where pixels attend to it. The image depends on the components alone (no style of a
global latent), and on each by itself (no attention among them). The loss is that of
scenes_r3gan.py.

Command:   ganformer-jax train
Hardware:  one CPU core, with other work beside it
Cost:      half an hour, with the scenes already rendered
Expected:  objects of many colors, each with a component of its own; after 40 thousand images the
           sliced Wasserstein distance (metric/swd in metrics.jsonl) has fallen from about 200 to
           between 15.2 and 17.5 (three runs, 2026-11-29), and foreground ARI of the last layer is
           0.75 and 0.79 (two of them)
"""

import dataclasses

from ganformer_jax.config.files import load_config

relativistic = load_config("scenes_r3gan")
generator = relativistic.generator
config = dataclasses.replace(
    relativistic,
    generator=dataclasses.replace(
        generator,
        attention_resolutions=(8, 32),
        attention=dataclasses.replace(
            generator.attention, places=True, integration="both", kmeans_iterations=0
        ),
        mapping=dataclasses.replace(generator.mapping, self_attention=False),
        synthesis=dataclasses.replace(generator.synthesis, style=False),
    ),
)
