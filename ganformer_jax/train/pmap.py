"""The same updates under `jax.pmap`, for projects that are built on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax

from ganformer_jax.config import Config
from ganformer_jax.errors import UserError
from ganformer_jax.train.data_parallel import DataParallel
from ganformer_jax.train.state import Optimizers
from ganformer_jax.train.trainable import Update
from ganformer_jax.train.updates import gan_updates

AXIS = "devices"


def pmap_updates(
    config: Config, optimizers: Optimizers | None = None, devices: Sequence[Any] | None = None
) -> tuple[Update, ...]:
    """Return the updates of a training step, each compiled by `jax.pmap`.

    They take a state with a leading axis of devices (`flax.jax_utils.replicate`) and batches
    [devices, B / devices, ...], donate the state, and return both likewise; scalars to log are
    the same on every device. Gradients are averaged over the devices.

    Latents are those of `jax.jit`. Two things are a device's own: groups of the minibatch standard
    deviation hold images of one device, and noise and dropout inside the generator, which differ
    from device to device, are not those of `jax.jit`.

    Args:
        config: The experiment; it only matters whether `train.batch_size` is above 1.
        optimizers: See `gan_updates`.
        devices: Devices to compile for; by default all.

    Raises:
        UserError: If `train.accumulate` is above 1, which `jax.jit` has alone: a device's groups of
            the minibatch standard deviation would be others.
    """
    if config.train.accumulate > 1:
        raise UserError("train.accumulate has no effect under jax.pmap: set it to 1")

    def compiled(update: Update) -> Update:
        function = jax.pmap(update.function, AXIS, devices=devices, donate_argnums=0)
        return dataclasses.replace(update, function=function)

    updates = gan_updates(config, DataParallel(axis_name=AXIS), optimizers)
    return tuple(compiled(update) for update in updates)
