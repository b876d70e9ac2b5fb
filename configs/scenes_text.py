"""GANformer on the built-in scenes with captions: what is there, in words, decides the image.

Both networks read the caption of each image, with an encoder of their own. In the generator, the
components attend to its words, and the image attends to components and words, by their contents
(no centroids).

Command:   ganformer-jax train --config scenes_text
Hardware:  not measured yet
Cost:      not measured yet
Expected:  not measured yet
"""

import dataclasses

from ganformer_jax.config_files import load_config
from ganformer_jax.config_text import TextEncoderConfig

LONGEST, VOCABULARY = 18, 39
"""Tokens of the longest caption, and different tokens of all captions of scenes."""

scenes = load_config("scenes_ganformer")
text = TextEncoderConfig(layers=2, width=64, vocabulary=VOCABULARY, longest=LONGEST)
generator = scenes.generator
config = dataclasses.replace(
    scenes,
    generator=dataclasses.replace(
        generator,
        label_size=LONGEST,
        attention=dataclasses.replace(generator.attention, kmeans_iterations=0),
        text=text,
    ),
    discriminator=dataclasses.replace(scenes.discriminator, label_logit="projection", text=text),
)
