"""Steps whose batch is shared by parts or devices, compared with those of the whole."""

import dataclasses
from typing import Any

import flax.jax_utils
import jax
from tiny import conditional, labeled_batch
from training import assert_close, gan_programs, on_host, run_steps, sgd

from ganformer_jax.train.pmap import pmap_updates
from ganformer_jax.train.state import create_state
from ganformer_jax.train.trainable import train_step


def changed_train(config, **values: Any):
    """The experiment with other values of `train`."""
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **values))


def without_device_draws(config):
    """Turn off what differs from device to device under pmap: noise, dropout, groups."""
    generator = dataclasses.replace(
        config.generator,
        synthesis=dataclasses.replace(config.generator.synthesis, noise=False),
        attention=dataclasses.replace(config.generator.attention, dropout=0.0),
    )
    discriminator = dataclasses.replace(config.discriminator, minibatch_stddev_channels=0)
    return dataclasses.replace(config, generator=generator, discriminator=discriminator)


def shares(batch, devices):
    return {n: a.reshape(devices, len(a) // devices, *a.shape[1:]) for n, a in batch.items()}


def compare_parts(config, atol: float):
    """Compare two steps of a batch in two parts with those of the whole; return what they log."""
    config, batches = conditional(config), [labeled_batch(0), labeled_batch(1)]
    one, two = (
        run_steps(gan_programs(changed_train(config, accumulate=n), optimizers=sgd()), batches)
        for n in (1, 2)
    )
    assert_close(one, two, rtol=1e-4, atol=atol)
    return one[1]


def compare_devices(config, parts: int = 2):
    """Compare a step on one device with those on eight, by default in two parts, and under pmap."""
    config = without_device_draws(conditional(config))
    one, eight = (
        run_steps(gan_programs(asked, jax.devices()[:count], sgd()), [labeled_batch(0)])
        for asked, count in ((config, 1), (changed_train(config, accumulate=parts), 8))
    )
    assert_close(one, eight)
    state = jax.jit(lambda key: create_state(config, key, sgd()))(jax.random.key(0))
    state = flax.jax_utils.replicate(state, jax.devices())
    mapped = on_host(train_step(pmap_updates(config, sgd()), state, shares(labeled_batch(0), 8), 0))
    state, info = jax.tree.map(lambda leaf: leaf[0], mapped)
    assert_close(one, (state, [info]))
