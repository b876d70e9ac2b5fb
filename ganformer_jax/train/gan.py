"""A GAN as the training loop trains it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from ganformer_jax.config import Config
from ganformer_jax.config_checks import check_batch
from ganformer_jax.train.data_parallel import DataParallel
from ganformer_jax.train.devices import Placement
from ganformer_jax.train.state import ADDED_LEAVES, STATE_VERSION, Optimizers, create_state
from ganformer_jax.train.trainable import Trainable
from ganformer_jax.train.updates import gan_updates


def gan_trainable(
    config: Config,
    placement: Placement,
    sample: Callable[[Any, Sequence[int]], np.ndarray],
    optimizers: Optimizers | None = None,
) -> Trainable:
    """Return what the training loop needs of a GANformer, a StyleGAN2 or a plain GAN.

    Args:
        config: The experiment, whose batch divides over the devices.
        placement: The devices.
        sample: See `Trainable.sample`; the state is a `TrainState`.
        optimizers: By default those of `make_optimizers(config)`.
    """
    check_batch(config, len(placement.devices))
    return Trainable(
        init=functools.partial(create_state, config, optimizers=optimizers),
        updates=gan_updates(config, DataParallel(placement.batch), optimizers),
        batch=batch_shapes(config),
        sample=sample,
        state_version=STATE_VERSION,
        added_leaves=ADDED_LEAVES,
    )


def batch_shapes(config: Config) -> dict[str, jax.ShapeDtypeStruct]:
    """Return shapes and dtypes of a whole batch: images, and labels if they matter."""
    generator, count = config.generator, config.train.batch_size
    size = (count, *generator.image_size, generator.image_channels)
    shapes = {"images": jax.ShapeDtypeStruct(size, np.uint8)}
    if generator.label_size:
        shapes["labels"] = jax.ShapeDtypeStruct((count, generator.label_size), np.float32)
    return shapes
