"""A GAN as the training loop trains it: its updates, as pure functions, and their order.

An update takes the networks, the state and a batch, and returns the new state and scalars to log.
A regularizer (`regularization.py`) is an update of its own, once in an interval of steps and
stronger by that interval; with an interval of 1 the discriminator's are part of its loss.

The same functions run under `jax.jit` over a mesh and, through `pmap.py`, under `jax.pmap`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ganformer_jax.config import Config, ScheduleConfig
from ganformer_jax.config.checks import check_batch
from ganformer_jax.pixels import from_uint8
from ganformer_jax.train import schedules
from ganformer_jax.train.accumulate import accumulate, microbatches
from ganformer_jax.train.augmentation import adapt, probability
from ganformer_jax.train.averaging import moved_average
from ganformer_jax.train.binding import count_step, reseed, with_matmul_precision
from ganformer_jax.train.data_parallel import DataParallel
from ganformer_jax.train.devices import Placement
from ganformer_jax.train.diagnosis import first_non_finite
from ganformer_jax.train.diversity import diversity, image_moments
from ganformer_jax.train.label_losses import labels_to_contrast, with_other_labels
from ganformer_jax.train.networks import Networks
from ganformer_jax.train.objectives import discriminator_objective, generator_objective
from ganformer_jax.train.optimizer_step import optimizer_step
from ganformer_jax.train.regularization import discriminator_penalty_update, path_length_update
from ganformer_jax.train.state import (
    ADDED_LEAVES,
    STATE_VERSION,
    Optimizers,
    TrainState,
    Tree,
    create_state,
)
from ganformer_jax.train.trainable import Batch, Info, Trainable, Update

Result = tuple[TrainState, Info]


def gan_updates(
    config: Config, parallel: DataParallel | None = None, optimizers: Optimizers | None = None
) -> tuple[Update, ...]:
    """Return the updates of a training step in order: both regularizers, then the networks.

    Penalties of the discriminator with an interval of 1 are part of the last update.

    A batch has `images`, uint8 [B, H, W, C], and, for a conditional generator, `labels`, float32
    [B, Y], one-hot classes or conditions; other arrays of it are ignored. Each update returns the
    new state and float32 scalars by name.

    Args:
        config: The experiment.
        parallel: Data parallelism over devices; by default there is one device.
        optimizers: The optimizers; by default those of `make_optimizers`, with the schedules of the
            config; the state must come from the same ones. Others have no schedules of the
            learning rate and beta2.

    Returns:
        The updates. Called with a batch that is not of the config, or with a state of other
        optimizers, they raise `ValueError`; with a batch that is not a dict, `TypeError`.

    Raises:
        TypeError: An argument is of another type.
    """
    parallel = DataParallel() if parallel is None else parallel
    networks, loss = Networks(config, parallel, optimizers), config.loss

    def update(name: str, function: Callable[..., Result], interval: int) -> Update:
        applied = _with_used(networks, function)
        return Update(name, with_matmul_precision(applied, config.train.matmul_precision), interval)

    updates = []
    if loss.path_length_weight and loss.path_length_interval:
        updates.append(update("path_length", path_length_update, loss.path_length_interval))
    if loss.penalizes_discriminator and loss.lazy_penalty_interval:
        updates.append(update("r1", discriminator_penalty_update, loss.lazy_penalty_interval))
    # The adversarial update comes last: it counts the step, from which all random keys derive.
    updates.append(update("adversarial", adversarial_update, interval=1))
    return tuple(updates)


def _with_used(
    networks: Networks, function: Callable[..., Result]
) -> Callable[[TrainState, Batch], Result]:
    """Return an update that takes from a batch the arrays that its networks use, and no others.

    It raises `ValueError` for arrays that are missing, of another type, or of other images, and
    for a batch that `train.accumulate` does not divide.
    """
    shapes = batch_shapes(networks.config)

    def update(state: TrainState, batch: Batch) -> Result:
        if not isinstance(batch, Mapping):
            raise TypeError(f"the batch is a {type(batch).__name__}: give a dict of arrays by name")
        for name, wanted in shapes.items():
            _check_array(name, batch, wanted)
        parts, images = networks.config.train.accumulate, len(batch["images"])
        if images % parts:
            raise ValueError(f"train.accumulate is {parts}: it should divide a batch of {images}")
        return function(networks, state, {name: batch[name] for name in shapes})

    update.__name__ = function.__name__  # by which profilers know the program
    return update


def _check_array(name: str, batch: Batch, wanted: jax.ShapeDtypeStruct) -> None:
    """Raise `ValueError` unless a batch has this array, of as many rows as there are images."""
    give = f"give {wanted.dtype} [batch, {', '.join(map(str, wanted.shape[1:]))}]"
    if name not in batch:
        raise ValueError(f"the batch has no {name}: {give}")
    found = batch[name]
    given = f"{found.dtype} {list(found.shape)}"
    if (found.shape[1:], found.dtype) != (wanted.shape[1:], wanted.dtype):
        raise ValueError(f"{name} are {given}: {give}")
    if not len(found) or len(found) != len(batch["images"]):
        raise ValueError(f"{name} are {given} for {len(batch['images'])} images: {give}")


def gan_trainable(
    config: Config,
    placement: Placement,
    sample: Callable[[Any, Sequence[int]], np.ndarray],
    optimizers: Optimizers | None = None,
) -> Trainable:
    """Return what the training loop needs of the networks of a config.

    Args:
        config: The experiment, whose batch divides over the devices.
        placement: The devices.
        sample: See `Trainable.sample`; the state is a `TrainState`.
        optimizers: The optimizers; by default those of `make_optimizers(config)`.
    """
    check_batch(config, len(placement.devices))
    return Trainable(
        init=functools.partial(create_state, config, optimizers=optimizers),
        updates=gan_updates(config, DataParallel(placement.batch), optimizers),
        batch=batch_shapes(config),
        sample=sample,
        reseed=reseed,
        diagnose=functools.partial(_diagnose, config),
        state_version=STATE_VERSION,
        added_leaves=ADDED_LEAVES,
    )


def _diagnose(config: Config, state: TrainState, batch: Batch) -> str:
    """Name what is not finite first, one microbatch after the other."""
    train = dataclasses.replace(config.train, rematerialize=False)  # which hides activations
    networks = Networks(dataclasses.replace(config, train=train))
    each = microbatches(networks, batch)
    found = (first_non_finite(part, state, images) for part, images in each)
    return next(filter(None, found), "")


def batch_shapes(config: Config) -> dict[str, jax.ShapeDtypeStruct]:
    """Return shapes and dtypes of a full batch: images, and labels if they matter."""
    generator, count = config.generator, config.train.batch_size
    size = (count, *generator.image_size, generator.image_channels)
    shapes = {"images": jax.ShapeDtypeStruct(size, np.uint8)}
    if generator.label_size:
        shapes["labels"] = jax.ShapeDtypeStruct((count, generator.label_size), np.float32)
    return shapes


def adversarial_update(networks: Networks, state: TrainState, batch: Batch) -> Result:
    """Update both networks and the averages, and count the step: what every step has.

    Random keys derive from `state.step` (`Networks.keys`), so that it is counted last.
    """
    count, info = networks.count(batch), values_of_step(networks, state)
    state, generator_info = generator_update(networks, state, batch)
    state, discriminator_info = discriminator_update(networks, state, batch)
    state = adapt(networks.config, state, discriminator_info, count)
    state = ema_stats_update(networks, state, batch)
    state = ema_update(networks, state, count)
    return count_step(state, count), info | generator_info | discriminator_info


def values_of_step(networks: Networks, state: TrainState) -> Info:
    """Return the values to log of options that change, as this step uses them."""
    own_adam = networks.optimizers is None
    info = schedules.current_values(networks.config, state.images_seen, own_adam)
    if networks.config.augment.transforms:
        info["augment/p"] = jnp.asarray(probability(networks.config, state))
    return info


def generator_update(networks: Networks, state: TrainState, batch: Batch) -> Result:
    """Raise the logits of generated images, and follow the mean of w.

    By default with the non-saturating loss (Goodfellow et al. 2014, arXiv 1406.2661, section 3);
    with `loss.contrastive_weight` also with the contrastive loss.
    """
    config, mean = networks.config, networks.parallel.mean
    count, keys = networks.count(batch), networks.keys(state, "generator")
    every_label_NxY = labels_to_contrast(networks, batch)

    def gradients_of(part: Networks, reals: Batch) -> tuple[Any, Tree]:
        def loss_of(params: Tree) -> Any:
            return generator_objective(
                part, params, state, keys, reals, count=count, every_label_NxY=every_label_NxY
            )

        return jax.value_and_grad(loss_of, has_aux=True)(state.generator)

    (_, (info, w_mean_D, stats)), gradients = accumulate(
        networks, state.generator, batch, gradients_of
    )
    state, norm = optimizer_step(networks, state, "generator", gradients)
    state = state.with_stats("generator", mean(stats))
    beta = config.optimizer.w_average_beta
    w_mean_D = lax.stop_gradient(mean(w_mean_D))
    state = state.replace(w_average=w_mean_D + beta * (state.w_average - w_mean_D))
    return state, mean(info) | {"gradient_norm/generator": norm}


def discriminator_update(networks: Networks, state: TrainState, batch: Batch) -> Result:
    """Tell real images from generated ones, by default with the logistic loss (arXiv 1406.2661).

    With `loss.r1_interval` 1, the discriminator's penalties are added to the loss, and with their
    weights the losses about labels (`label_losses.py`).
    """
    options, every_label_NxY = networks.config.loss, labels_to_contrast(networks, batch)
    batch = with_other_labels(networks, batch)
    count, keys = networks.count(batch), networks.keys(state, "discriminator")
    joined = options.penalizes_discriminator and not options.lazy_penalty_interval

    def gradients_of(part: Networks, reals: Batch) -> tuple[Any, Tree]:
        w_BxKxLxD, _ = part.sample_w(state.generator, state, keys, reals.get("labels"), count)
        fakes_BxHxWxC = part.synthesize(state.generator, state, keys, w_BxKxLxD)
        moments = image_moments(from_uint8(reals["images"]), fakes_BxHxWxC)

        def loss_of(params: Tree) -> Any:
            loss, (info, stats) = discriminator_objective(
                part,
                params,
                state,
                keys,
                reals,
                fakes_BxHxWxC=fakes_BxHxWxC,
                count=count,
                every_label_NxY=every_label_NxY,
                penalized=joined,
            )
            return loss, (info, moments, stats)

        return jax.value_and_grad(loss_of, has_aux=True)(state.discriminator)

    (_, (info, moments, stats)), gradients = accumulate(
        networks, state.discriminator, batch, gradients_of
    )
    state, norm = optimizer_step(networks, state, "discriminator", gradients)
    info, moments, stats = networks.parallel.mean((info, moments, stats))
    state = state.with_stats("discriminator", stats)
    info["gradient_norm/discriminator"] = norm
    if networks.config.train.batch_size > 1:  # one image differs from no other
        info["diversity/generated"] = diversity(*moments)
    return state, info


def ema_stats_update(networks: Networks, state: TrainState, batch: Batch) -> TrainState:
    """Update the running statistics of the averaged generator, which are its own, if it has any.

    Its images are those of the latents of the generator's update.
    """
    if not state.batch_stats["ema"]:
        return state
    options = networks.config.optimizer
    if not options.ema_kimg and options.ema_kimg_schedule == ScheduleConfig():
        return state.with_stats("ema", state.batch_stats["generator"])  # they are the same network
    keys, labels = networks.keys(state, "generator"), batch.get("labels")
    w_BxKxLxD, _ = networks.sample_w(state.ema, state, keys, labels, networks.count(batch))
    _, stats = networks.synthesize_with_stats(state.ema, state, keys, w_BxKxLxD, "ema")
    return state.with_stats("ema", networks.parallel.mean(stats))


def ema_update(networks: Networks, state: TrainState, count: int) -> TrainState:
    """Move the generator's average toward its parameters, after a step of `count` images."""
    options, images_seen = networks.config.optimizer, state.images_seen
    half_life = 1000 * schedules.value(options.ema_kimg_schedule, options.ema_kimg, images_seen)
    ema = moved_average(
        state.ema,
        state.generator,
        count=count,
        half_life=jnp.asarray(half_life),
        images_seen=images_seen,
        rampup=options.ema_rampup,
    )
    return state.replace(ema=ema)
