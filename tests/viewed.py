"""Tiny generators of every kind that the viewer takes."""

import dataclasses
import functools
import pathlib
from typing import Any

import exports
import jax
from tiny import tiny_config

from ganformer_jax.config import AttentionConfig, GeneratorConfig
from ganformer_jax.config.attention import MergeConfig
from ganformer_jax.config.text import TextEncoderConfig
from ganformer_jax.viewer import Labels, ViewedGenerator

GANFORMER = dataclasses.replace(
    tiny_config(3).generator, latent_size=12, attention_resolutions=(4, 8)
)
LABELED = dataclasses.replace(GANFORMER, label_size=2)
TINY_ENCODER = TextEncoderConfig(
    layers=1, width=4, heads=1, hidden_width=4, vocabulary=7, longest=4
)
KINDS = {
    "ganformer": GANFORMER,
    "stylegan2": tiny_config(0).generator,
    "k-GAN": dataclasses.replace(tiny_config(0).generator, merge=MergeConfig(images=2)),
    "one component": dataclasses.replace(tiny_config(1).generator, latent_size=4),
    "unattended": dataclasses.replace(GANFORMER, attention_resolutions=(32, 32)),
    "classes": LABELED,
    "conditions": LABELED,
    "captions": dataclasses.replace(GANFORMER, label_size=4, text=TINY_ENCODER),
    "places": dataclasses.replace(
        GANFORMER, attention=AttentionConfig(kmeans_iterations=0, places=True)
    ),
    "oblong": dataclasses.replace(GANFORMER, base_grid=(2, 4)),
    "one channel": dataclasses.replace(GANFORMER, image_channels=1),
    "four channels": dataclasses.replace(GANFORMER, image_channels=4),
    "five channels": dataclasses.replace(GANFORMER, image_channels=5),
}
MAPPING_SCALE = 50
"""Their learning rate multiplier divides the weights of the mapping network by 100."""
LABELS = {
    "classes": Labels("classes", ("cat", "dog"), 0),
    "conditions": Labels("conditions", ("width", "height"), (0.5, -1.0)),
    "captions": Labels("conditions", ("0", "1", "2", "3"), (2.0, 5.0, 3.0, 0.0)),
}


def variables_of(config: GeneratorConfig) -> dict[str, Any]:
    """Random variables, in which latents and labels decide the image; nothing is compiled."""
    variables = exports.variables_of(config)
    params = variables["params"]
    mapping = jax.tree.map(lambda leaf: MAPPING_SCALE * leaf, params["mapping"])
    return variables | {"params": params | {"mapping": mapping}}


def export(folder: pathlib.Path, kind: str = "ganformer") -> str:
    """Write a generator of a kind to a file and return the path."""
    return exports.export(folder, KINDS[kind], variables=variables_of(KINDS[kind]))


@functools.cache
def viewed(kind: str) -> ViewedGenerator:
    """A generator of a kind; the same one for each test of a process."""
    config = KINDS[kind]
    return ViewedGenerator(config, variables_of(config), LABELS.get(kind, Labels()), "0123")
