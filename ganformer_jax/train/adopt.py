"""A run made of weights from elsewhere, at step 0."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import jax

from ganformer_jax.config import Config
from ganformer_jax.config_files import from_dict, to_dict
from ganformer_jax.models import validate_networks
from ganformer_jax.train.checkpoint import Checkpoints, adopt_weights
from ganformer_jax.train.compile import CompiledGame
from ganformer_jax.train.same_run import save_config


def write_run(
    run: str | pathlib.Path, config: Config, weights: Mapping[str, Any], source: str
) -> None:
    """Writes a run whose only checkpoint, of step 0, has these weights and new optimizers.

    Args:
        run: Its folder, empty or absent.
        config: The experiment that the weights fit.
        weights: The parts of the state named in `checkpoint.WEIGHTS`.
        source: Where they come from, for messages.

    Raises:
        UserError: When weights and config do not fit, or the folder cannot be written.
    """
    config = from_dict(Config, to_dict(config))  # as it will be read again
    validate_networks(config.generator, config.discriminator)
    game = CompiledGame(config, jax.devices()[:1])
    state = game.create(jax.random.key(config.train.seed))
    state = adopt_weights(state, weights, source)
    run = pathlib.Path(run)
    run.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(run)
    try:
        checkpoints.save(0, state, config)
        checkpoints.wait()
    finally:
        checkpoints.close()
    save_config(config, run)
