"""Exported generators of random weights, for tests of commands."""

import pathlib
from typing import Any

import jax
import numpy as np
from tiny import random_variables

from ganformer_jax import Generator
from ganformer_jax.config import GeneratorConfig
from ganformer_jax.convert.export import save_generator


def export(
    folder: pathlib.Path, config: GeneratorConfig, seed: int = 1, variables: Any = None
) -> str:
    """Write a generator to `generator.safetensors` and return the path."""
    path = folder / "generator.safetensors"
    save_generator(path, config, variables_of(config, seed) if variables is None else variables)
    return str(path)


def variables_of(config: GeneratorConfig, seed: int = 1):
    """Random variables of a generator; nothing is compiled."""
    z_1xKxD = np.zeros((1, config.num_latents, config.z_size), np.float32)
    labels = np.zeros((1, config.label_size), np.float32) if config.label_size else None
    return random_variables(
        lambda: Generator(config).init(jax.random.key(0), z_1xKxD, labels, noise="const"), seed
    )


def initial_variables(config: GeneratorConfig, seed: int = 3):
    """Variables as training starts, but for noise, whose strength would be 0."""
    z_1xKxD = np.zeros((1, config.num_latents, config.z_size), np.float32)
    labels = np.zeros((1, config.label_size), np.float32) if config.label_size else None
    streams = {"params": jax.random.key(seed), "noise": jax.random.key(seed + 1)}
    found = jax.jit(Generator(config).init)(streams, z_1xKxD, labels)

    def strengthen_noise(path, leaf):
        return leaf + 0.1 if "strength" in jax.tree_util.keystr(path) else leaf

    return jax.tree_util.tree_map_with_path(strengthen_noise, found)
