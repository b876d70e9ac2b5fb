"""The smallest experiments that still have every part, for tests."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ganformer_jax import Generator
from ganformer_jax.config import (
    Config,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    MappingConfig,
    SynthesisConfig,
    TrainConfig,
)

BATCH, RESOLUTION = 16, 8


def tiny_config(components: int = 2, **loss: float) -> Config:
    """Networks of a few thousand parameters; with 0 components, quicker still to compile."""
    return Config(
        generator=GeneratorConfig(
            resolution=RESOLUTION,
            components=components,
            latent_size=8,
            attention_resolutions=(4, 4),
            mapping=MappingConfig(num_layers=1, self_attention=False),
            synthesis=SynthesisConfig(channel_base=32, channel_max=4),
        ),
        discriminator=DiscriminatorConfig(channel_base=32, channel_max=4),
        loss=dataclasses.replace(LossConfig(), **loss),
        train=TrainConfig(batch_size=BATCH, total_kimg=0.32),
    )


def random_variables(init: Callable[[], Any], seed: int = 1) -> Any:
    """Variables of the shapes that `init` would make, drawn without compiling anything."""
    return random_like(jax.eval_shape(init), seed)


def random_like(shapes: Any, seed: int = 1) -> Any:
    """Arrays of these shapes."""
    random = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray((0.7 * random.standard_normal(leaf.shape)).astype(leaf.dtype)),
        shapes,
    )


def tiny_generator(resolution: int) -> tuple[Generator, dict[str, Any]]:
    """A generator without components, and random variables; nothing is compiled."""
    generator = Generator(dataclasses.replace(tiny_config(0).generator, resolution=resolution))
    z_1xKxD = np.zeros((1, generator.config.num_latents, generator.config.z_size), np.float32)
    init = functools.partial(generator.init, noise="const")
    shapes: Any = jax.eval_shape(init, jax.random.key(0), z_1xKxD)
    random = np.random.default_rng(0)
    return generator, jax.tree.map(
        lambda leaf: random.standard_normal(leaf.shape).astype(leaf.dtype), shapes
    )


def random_batch(number: int, batch: int = BATCH) -> dict[str, np.ndarray]:
    """A batch that its number decides."""
    shape = (batch, RESOLUTION, RESOLUTION, 3)
    images = np.random.default_rng(number).integers(0, 256, shape, np.uint8)
    return {"images": images, "labels": np.zeros((batch, 0), np.float32)}


def random_batches(images_seen: int) -> Iterator[dict[str, np.ndarray]]:
    """Endless batches after a number of images."""
    for number in itertools.count(images_seen // BATCH):
        yield random_batch(number)


# Labeled images, and every regularizer

CLASSES = 3


def conditional(config: Config) -> Config:
    """The same networks for labeled images."""
    return dataclasses.replace(
        config, generator=dataclasses.replace(config.generator, label_size=CLASSES)
    )


FULL = conditional(
    tiny_config(
        path_length_weight=2.0,
        component_mixing=0.5,
        mismatch_weight=0.5,
        contrastive_weight=0.5,
    )
)


def labeled_batch(number: int, batch: int = BATCH) -> dict[str, np.ndarray]:
    """A batch that its number decides, with labels in no order that devices could share."""
    labels = np.random.default_rng(number).integers(0, CLASSES, batch)
    return random_batch(number, batch) | {"labels": np.eye(CLASSES, dtype=np.float32)[labels]}
