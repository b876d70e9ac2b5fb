"""Trained generators of runs, exports and published snapshots."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ganformer_jax.config.kinds import as_gan
from ganformer_jax.convert.build import flatten
from ganformer_jax.convert.export import is_safetensors, read_generator
from ganformer_jax.convert.snapshot import read_snapshot
from ganformer_jax.errors import UserError, os_reason
from ganformer_jax.models import Generator


def load(path: str | os.PathLike[str]) -> tuple[Generator, dict[str, Any]]:
    """Load the averaged generator of a run, an export or a published snapshot.

    Args:
        path: The folder of a run (loads its newest checkpoint; needs orbax-checkpoint), a file
            that `export` wrote (needs safetensors), or a training snapshot of GANformer's or
            NVIDIA's StyleGAN2 code (needs neither PyTorch nor TensorFlow).

    Returns:
        The module and its variables: `generator.apply(variables, z_BxKxD, ...)`.

    Raises:
        UserError: If there is no such run or file, or it is damaged.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        return load_run(path)
    if not path.is_file():
        raise UserError(f"no run and no file {path}")
    try:
        exported = is_safetensors(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {os_reason(error)}") from error
    if not exported:
        return read_snapshot(path).generator()
    generator, variables = read_generator(path)
    return generator, jax.tree.map(jnp.asarray, variables)


class LoadedCheckpoint(NamedTuple):
    """The averaged generator of a checkpoint, and how far its training was."""

    generator: Generator
    variables: dict[str, Any]
    step: int
    images_seen: int


def load_run(
    run: str | os.PathLike[str],
    step: int | None = None,
    best: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Generator, dict[str, Any]]:
    """Load the averaged generator of a run, as `load` does.

    Its activations are float32, also if it trained in bfloat16: to sample costs little, and
    metrics then compare weights and not roundings.

    Args:
        run: Folder of the run.
        step: Step of the checkpoint; by default the newest that is not damaged.
        best: Use the checkpoint with the best metric instead.
        say: Receives the metric and the value that decided.
    """
    return load_checkpoint(run, step, best, say)[:2]


def load_checkpoint(
    run: str | os.PathLike[str],
    step: int | None = None,
    best: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> LoadedCheckpoint:
    """Load a checkpoint's averaged generator, as `load_run` does, with its step.

    Raises:
        UserError: If there is no such checkpoint, or its arrays are those of other networks.
    """
    from ganformer_jax.train.run_reading import PROGRESS, read_run
    from ganformer_jax.train.state import WEIGHTS, stats_variables

    fields, read = read_run(run, (*WEIGHTS, *PROGRESS), step, best, say)
    config = as_gan(read, str(run))
    if missing := [name for name in WEIGHTS if name not in fields and name != "batch_stats"]:
        raise UserError(f"{run} is not a run of a GAN: its checkpoints have no {missing[0]}")
    variables = {
        "params": fields["ema"],
        "constants": fields["constants"],
        "moments": {"w_average": fields["w_average"]},
        **stats_variables(fields.get("batch_stats", {}), "ema"),
    }
    generator = Generator(dataclasses.replace(config.generator, dtype="float32"))
    _check_fit(generator, variables, run)
    return LoadedCheckpoint(generator, variables, int(fields["step"]), int(fields["images_seen"]))


def _check_fit(generator: Generator, variables: dict[str, Any], run: Any) -> None:
    """Raise `UserError` for weights of a version whose generator had other arrays."""
    config = generator.config
    latents = jnp.zeros((1, config.num_latents, config.z_size))
    labels = jnp.zeros((1, config.label_size))
    initialize = functools.partial(generator.init, noise="const")
    wanted = flatten(jax.eval_shape(initialize, jax.random.key(0), latents, labels))
    found = flatten(variables)
    for path, leaf in wanted.items():
        if path not in found or found[path].shape != leaf.shape:
            raise UserError(
                f"the weights in {run} are of a version of ganformer_jax with other networks: they "
                f"have no {path} of shape {list(leaf.shape)}; load them with that version"
            )
