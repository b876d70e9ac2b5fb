"""Freeze-D: blocks of the discriminator next to the image, which are not trained."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
import optax
import pytest
from exports import initial_variables
from tiny import random_batch
from training import assert_close, gan_programs, run_steps, sgd
from transfers import architecture

from ganformer_jax.config import Config
from ganformer_jax.config.checks import validate
from ganformer_jax.convert.export import save_generator
from ganformer_jax.errors import UserError
from ganformer_jax.experiment.initial_weights import warm_start
from ganformer_jax.experiment.run import train_experiment
from ganformer_jax.train.networks import Networks
from ganformer_jax.train.state import Optimizers, create_state
from ganformer_jax.train.updates import discriminator_update


def freezing(count: int, **loss: Any) -> Config:
    """Skip networks of 16x16, whose discriminator reads the image at every resolution."""
    config = architecture("skip", resolution=16)
    return dataclasses.replace(
        config,
        loss=dataclasses.replace(config.loss, **loss),
        train=dataclasses.replace(config.train, freeze_discriminator=count, batch_size=4),
    )


def larger_batch(number: int) -> dict[str, np.ndarray]:
    images_BxHxWxC = random_batch(number, 4)["images"]
    return {"images": images_BxHxWxC.repeat(2, 1).repeat(2, 2)}


@pytest.mark.slow
@pytest.mark.parametrize("interval", [1, 2])
def test_frozen_blocks_do_not_change(interval):
    """With R1 in updates of its own or in the loss, and an optimizer that decays all weights."""
    config = freezing(1, r1_interval=interval)
    decaying = Optimizers(optax.adam(0.01), optax.adamw(0.01, weight_decay=0.1))
    programs = gan_programs(config, optimizers=decaying)
    first = jax.device_get(programs.init(jax.random.key(0)).discriminator)
    state, infos = run_steps(programs, map(larger_batch, range(3)))
    assert float(infos[0]["loss/r1"]) > 0
    for name, layer in state.discriminator.items():
        same = [
            np.array_equal(a, b)
            for a, b in zip(jax.tree.leaves(layer), jax.tree.leaves(first[name]), strict=True)
        ]
        assert all(same) if name in ("block_16", "from_image_16") else not any(same), name
    moments = state.discriminator_optimizer[0]
    assert not np.any(moments.nu["block_16"]["convolution_0"]["kernel"])


def test_layers_that_are_not_frozen_get_the_same_gradients():
    """By an optimizer that does not hide their scale; the norm is that of what is trained."""
    states, norms = [], []
    for count in (0, 1):
        config = freezing(count, r1_gamma=0.0, generator="wgan", discriminator="wgan")
        update = functools.partial(discriminator_update, Networks(config, optimizers=sgd()))
        before = jax.jit(lambda key: create_state(config, key, sgd()))(jax.random.key(0))  # noqa: B023
        state, info = jax.jit(update)(before, larger_batch(0))
        states.append(state.discriminator)
        norms.append(float(info["gradient_norm/discriminator"]))
    for name in ("convolution", "dense", "output", "from_image_4"):
        assert_close(states[1][name], states[0][name], rtol=1e-5, atol=1e-6)
    assert norms[0] > norms[1] > 0
    for name in ("block_16", "from_image_16"):
        first = before.discriminator[name]
        jax.tree.map(np.testing.assert_array_equal, states[1][name], first)


def test_layers_that_a_source_lacks_are_not_frozen(tmp_path):
    """As an export, which has no discriminator: they would stay random."""
    config, export = freezing(1), tmp_path / "generator.safetensors"
    save_generator(export, config.generator, initial_variables(config.generator))
    missing = (
        "not have discriminator.block_16, discriminator.from_image_16, which would stay random"
    )
    with pytest.raises(UserError, match=missing):
        warm_start(str(export), config, tmp_path)
    warm_start(str(export), freezing(0), tmp_path)


def test_a_new_run_does_not_freeze_random_layers(tmp_path):
    config, run = freezing(1), tmp_path / "run"
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, name="absent"))
    with pytest.raises(UserError, match="is 1, and without --init-from these layers would stay ra"):
        train_experiment(config, run)
    assert not run.exists()
    (run / "checkpoints" / "3").mkdir(parents=True)  # as of a run that resumes
    with pytest.raises(UserError, match="no dataset 'absent'"):
        train_experiment(config, run)


def test_no_more_blocks_are_frozen_than_there_are():
    validate(freezing(2))
    with pytest.raises(UserError, match="freeze_discriminator is 3; the discriminator has 2 bl"):
        validate(freezing(3))
    with pytest.raises(UserError, match="freeze_discriminator is -1"):
        validate(freezing(-1))
