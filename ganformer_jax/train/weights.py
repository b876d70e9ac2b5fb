"""States and runs made of weights of the same shapes; `transfer/` fits those of others."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax

from ganformer_jax.config import Config
from ganformer_jax.config.checks import validate
from ganformer_jax.config.dicts import from_dict, to_dict
from ganformer_jax.config.files import CONFIG_FILE
from ganformer_jax.errors import UserError
from ganformer_jax.files import write_atomically
from ganformer_jax.train.checkpoints.checkpoints import Checkpoints
from ganformer_jax.train.checkpoints.checksums import by_path
from ganformer_jax.train.state import WEIGHTS, TrainState, create_state
from ganformer_jax.train.transfer.start import place


def with_weights(state: TrainState, weights: Mapping[str, Any], source: str) -> TrainState:
    """Return a state with the weights of `source`; optimizers and counters stay new.

    Raises:
        UserError: If an array of either side is missing on the other, or has another shape.
    """
    own = {name: getattr(state, name) for name in WEIGHTS}
    mine, theirs = by_path(own), by_path({name: weights.get(name, {}) for name in WEIGHTS})
    wrong = [f"{path} is missing there" for path in mine if path not in theirs]
    wrong += [f"{path} is only there" for path in theirs if path not in mine]
    wrong += [
        f"{path} is {theirs[path].shape} there, {mine[path].shape} here"
        for path in mine
        if path in theirs and theirs[path].shape != mine[path].shape
    ]
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise UserError(f"the weights of {source} do not fit: {wrong[0]}{more}")
    leaves = [place(leaf, theirs[path]) for path, leaf in mine.items()]
    return state.replace(**jax.tree.unflatten(jax.tree.structure(own), leaves))


def write_run(
    run: str | pathlib.Path, config: Config, weights: Mapping[str, Any], source: str
) -> None:
    """Write a run whose only checkpoint, of step 0, has these weights and new optimizers.

    A discriminator that the weights lack is new too.

    Raises:
        UserError: If weights and config do not fit, or the folder cannot be written.
    """
    values = to_dict(config)
    config = from_dict(Config, values)  # as it will be read again
    validate(config)
    state = jax.jit(lambda key: create_state(config, key))(jax.random.key(config.train.seed))
    if "discriminator" not in weights:
        stats = {**state.batch_stats, **weights.get("batch_stats", {})}
        weights = {**weights, "discriminator": state.discriminator, "batch_stats": stats}
    state = with_weights(state, weights, source)
    run = pathlib.Path(run)
    run.mkdir(parents=True, exist_ok=True)
    with Checkpoints(run) as checkpoints:
        checkpoints.save(0, state, values)
    write_atomically(run / CONFIG_FILE, json.dumps(values, indent=2) + "\n")
