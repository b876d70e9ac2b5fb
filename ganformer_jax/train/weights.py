"""Training that starts from the weights of another run, and runs made of weights."""

from __future__ import annotations

import functools
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ganformer_jax.config import Config
from ganformer_jax.config_checks import validate
from ganformer_jax.config_files import differences, from_dict, to_dict
from ganformer_jax.errors import UserError
from ganformer_jax.files import write_atomically
from ganformer_jax.train.checkpoint import Checkpoints
from ganformer_jax.train.checksums import by_path
from ganformer_jax.train.run_folder import CONFIG_FILE
from ganformer_jax.train.state import WEIGHTS, TrainState, create_state


def warm_start(
    source: str | pathlib.Path,
    warn: Callable[[str], None] = print,
    config: Config | None = None,
) -> Callable[[TrainState], TrainState]:
    """Read the newest weights of another run; return a function that puts them into a state.

    Args:
        source: Folder of the other run.
        warn: Receives warnings.
        config: Of the state; where weights do not fit, settings that differ are named.

    Raises:
        UserError: If there is no such run, or no undamaged checkpoint in it.
    """
    if not pathlib.Path(source).is_dir():
        raise UserError(f"no run in {source}")
    with Checkpoints(source, warn=warn, read_only=True) as checkpoints:
        weights, theirs = checkpoints.weights()
    changed = {} if config is None else differences(theirs, config)
    settings = [
        f"{name} is {there} there, {here} here"
        for name, (there, here) in changed.items()
        if name.startswith(("generator.", "discriminator."))
    ]
    return functools.partial(
        with_weights, weights=weights, source=str(source), settings=tuple(settings)
    )


def with_weights(
    state: TrainState, weights: Mapping[str, Any], source: str, settings: Sequence[str] = ()
) -> TrainState:
    """Return a state with the weights of `source` if they fit; optimizers and counters stay new.

    The error that says that they do not fit says these settings too.
    """
    own = {name: getattr(state, name) for name in WEIGHTS}
    mine, theirs = by_path(own), by_path({name: weights[name] for name in WEIGHTS})
    wrong = [f"{path} is missing there" for path in mine if path not in theirs]
    wrong += [f"{path} is only there" for path in theirs if path not in mine]
    wrong += [
        f"{path} is {theirs[path].shape} there, {mine[path].shape} here"
        for path in mine
        if path in theirs and theirs[path].shape != mine[path].shape
    ]
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        why = f"; to start from them, make equal: {', '.join(settings)}" if settings else ""
        raise UserError(f"the weights of {source} do not fit: {wrong[0]}{more}{why}")

    def placed(path: str, leaf: jax.Array) -> jax.Array:  # where other hosts have devices too
        values = np.asarray(theirs[path], leaf.dtype)
        return jax.make_array_from_callback(
            leaf.shape, leaf.sharding, lambda index: np.asarray(values[index])
        )

    leaves = [placed(path, leaf) for path, leaf in mine.items()]
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
    state = with_weights(state, {"discriminator": state.discriminator, **weights}, source)
    run = pathlib.Path(run)
    run.mkdir(parents=True, exist_ok=True)
    with Checkpoints(run) as checkpoints:
        checkpoints.save(0, state, values)
    write_atomically(run / CONFIG_FILE, json.dumps(values, indent=2) + "\n")
