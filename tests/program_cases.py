"""Tiny generators of every kind that `export --format stablehlo` writes."""

import dataclasses
from typing import Any

import jax
import numpy as np
from tiny import random_variables, tiny_config

from ganformer_jax import Generator
from ganformer_jax.config import GeneratorConfig


def duplex(config: GeneratorConfig) -> GeneratorConfig:
    attention = dataclasses.replace(config.attention, kmeans_iterations=1, heads=2)
    mapping = dataclasses.replace(config.mapping, self_attention=True)
    return dataclasses.replace(config, attention=attention, mapping=mapping, dtype="bfloat16")


TINY = tiny_config().generator
GRAY_STYLEGAN2 = dataclasses.replace(tiny_config(0).generator, image_channels=1)
CASES: dict[str, tuple[GeneratorConfig, str]] = {
    "StyleGAN2, gray": (GRAY_STYLEGAN2, "const"),
    "one component, classes": (dataclasses.replace(TINY, components=1, label_size=3), "const"),
    "oblong, four channels, conditions": (
        dataclasses.replace(TINY, base_grid=(2, 4), image_channels=4, label_size=2),
        "none",
    ),
    "duplex, bfloat16": (duplex(TINY), "random"),
}
"""Configs, and noise."""


def draw_variables(config: GeneratorConfig) -> dict[str, Any]:
    """Random variables, with noise of some strength."""
    z_1xKxD = np.zeros((1, config.num_latents, config.z_size), np.float32)
    labels_1xY = np.zeros((1, config.label_size), np.float32)
    init = Generator(config).init
    return random_variables(lambda: init(jax.random.key(0), z_1xKxD, labels_1xY, noise="const"))


def some_labels(config: GeneratorConfig, count: int) -> np.ndarray | None:
    """Return labels as vectors; conditions of two numbers, else classes."""
    size = config.label_size
    if size == 2:
        return np.random.default_rng(0).random((count, 2), np.float32)
    return np.eye(size, dtype=np.float32)[np.arange(count) % size] if size else None
