"""Experiments that differ, and states of random weights, for tests of transfer."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
from tiny import random_like, tiny_config

from ganformer_jax.config import Config
from ganformer_jax.train.state import WEIGHTS, TrainState, create_state


def changed(config: Config, discriminator: Mapping[str, Any] | None = None, **generator: Any):
    """The config with other values of the generator and of the discriminator."""
    return dataclasses.replace(
        config,
        generator=dataclasses.replace(config.generator, **generator),
        discriminator=dataclasses.replace(config.discriminator, **(discriminator or {})),
    )


def classes(config: Config, count: int, logit: str = "class") -> Config:
    return changed(config, {"label_logit": logit}, label_size=count)


def architecture(name: str, **generator: Any) -> Config:
    config = tiny_config(0)
    synthesis = dataclasses.replace(config.generator.synthesis, architecture=name)
    return changed(config, {"architecture": name}, synthesis=synthesis, **generator)


def random_state(config: Config, seed: int) -> TrainState:
    """A state of random weights, without what is not weights."""
    none = dict.fromkeys(field.name for field in dataclasses.fields(TrainState))
    return TrainState(**none | random_like(_shapes(config), seed))


@functools.cache
def _shapes(config: Config) -> dict[str, Any]:
    def weights() -> dict[str, Any]:
        state = create_state(config, jax.random.key(0))
        return {name: getattr(state, name) for name in WEIGHTS}

    return jax.eval_shape(weights)
