"""Scenes of three to ten objects on a textured ground, 64x64, each object with a component.

The config of scenes.py with 16 components, for the harder of the built-in scenes. Places learn at a
tenth of the learning rate. At the full rate they drift to a corner in the first thousands of
images, before the networks draw objects (docs/notes/components.md). Penalties are four times as
large as those at 32x32, like the number of pixels.

Command:   ganformer-jax train --config scenes_hard
Hardware:  one CPU core, with other work beside it
Cost:      40 minutes, with the scenes already rendered
Expected:  objects of many colors, drawn by the components at their places; after 50 thousand
           images the sliced Wasserstein distance is 24.6 and 26.1, and foreground ARI of the last
           layer 0.67 and 0.63 (two runs, 2026-11-30)
"""

import dataclasses

from ganformer_jax.config.files import load_config

scenes = load_config("scenes")
config = dataclasses.replace(
    scenes,
    generator=dataclasses.replace(
        scenes.generator,
        resolution=64,
        components=16,
        latent_size=512,
        attention_resolutions=(8, 64),
        attention=dataclasses.replace(
            scenes.generator.attention, places_learning_rate_multiplier=0.1
        ),
    ),
    data=dataclasses.replace(scenes.data, name="scenes_hard"),
    loss=dataclasses.replace(scenes.loss, r1_gamma=1.2, r2_gamma=1.2),
)
