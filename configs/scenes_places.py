"""GANformer on the built-in scenes whose components have places: they come to own objects.

An ellipse for each component, made from its latent, is where pixels attend to it. The image depends
on the components alone (no style of a global latent), and on each by itself (no attention among
them). The loss is that of scenes_r3gan.py.

Command:   ganformer-jax train --config scenes_places
Hardware:  one CPU core, with other work beside it
Cost:      40 minutes, with the scenes already rendered
Expected:  objects of many colors, each with a component of its own; the sliced Wasserstein distance
           falls to 17, and foreground ARI of the last layer is 0.62 to 0.65 (two runs, 2026-11-29)
"""

import dataclasses

from ganformer_jax.config_files import load_config

scenes = load_config("scenes_r3gan")
generator = scenes.generator
config = dataclasses.replace(
    scenes,
    generator=dataclasses.replace(
        generator,
        attention=dataclasses.replace(
            generator.attention, places=True, integration="both", kmeans_iterations=0
        ),
        mapping=dataclasses.replace(generator.mapping, self_attention=False),
        synthesis=dataclasses.replace(generator.synthesis, style=False),
    ),
)
