"""Adam of the networks that share a learning rate: its schedule, clipping and weight decay."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import no_images

from ganformer_jax.config import ScheduleConfig
from ganformer_jax.config.ganformer2 import ExecutionConfig, GANformer2Config
from ganformer_jax.config.patches import PatchConfig
from ganformer_jax.config.prior import AutoencoderConfig, PriorConfig, PriorOptimizerConfig
from ganformer_jax.config.translation import (
    TranslationConfig,
    TranslationOptimizerConfig,
    TranslatorConfig,
)
from ganformer_jax.experiment.kinds import TRAININGS
from ganformer_jax.train.devices import place_on
from ganformer_jax.train.kinds.adam import make_adam, scheduled_rate

PARAMS = {"bias": jnp.ones(2), "kernel": jnp.ones((2, 2))}
GRADIENTS = {"bias": jnp.zeros(2), "kernel": jnp.array([[3.0, 0.0], [0.0, 4.0]])}


def first_step(optimizer: Any, gradients: Any) -> tuple[Any, Any]:
    """Updates of the parameters, and the moments of the gradients."""
    updates, memory = optimizer.update(gradients, optimizer.init(PARAMS), PARAMS)
    is_adam = lambda leaf: hasattr(leaf, "mu")  # noqa: E731
    (moments,) = filter(is_adam, jax.tree.leaves(memory, is_leaf=is_adam))
    return updates, moments


def test_options_are_those_of_the_optimizer():
    options = TranslationOptimizerConfig(learning_rate=0.1, beta1=0.25, beta2=0.75, epsilon=1.0)
    updates, moments = first_step(make_adam(options), GRADIENTS)
    np.testing.assert_allclose(updates["kernel"], [[-0.1 * 3 / 4, 0], [0, -0.1 * 4 / 5]], rtol=1e-5)
    np.testing.assert_allclose(moments.mu["kernel"], [[0.75 * 3, 0], [0, 0.75 * 4]], rtol=1e-5)
    np.testing.assert_allclose(moments.nu["kernel"], [[0.25 * 9, 0], [0, 0.25 * 16]], rtol=1e-5)


def test_the_learning_rate_follows_its_schedule():
    schedule = ScheduleConfig("linear", final=0.0, kimg=1.0)
    options = TranslationOptimizerConfig(learning_rate=0.2, learning_rate_schedule=schedule)
    for images, rate in ((None, 0.2), (0, 0.2), (250, 0.15), (1000, 0.0)):
        seen = None if images is None else jnp.int32(images)
        updates, _ = first_step(make_adam(options, seen), GRADIENTS)
        np.testing.assert_allclose(updates["kernel"][0, 0], -rate, rtol=1e-5)


def test_a_learning_rate_that_changes_is_logged():
    schedule = ScheduleConfig("linear", final=0.0, kimg=1.0)
    options = TranslationOptimizerConfig(learning_rate=0.2, learning_rate_schedule=schedule)
    (found,) = scheduled_rate(options, jnp.int32(250)).items()
    assert found == ("schedule/learning_rate", pytest.approx(0.15))
    assert not scheduled_rate(TranslationOptimizerConfig(), jnp.int32(250))


SMALL = {
    "translation": TranslationConfig(
        generator=TranslatorConfig(image_size=(32, 32), width=4, blocks=1)
    ),
    "prior": PriorConfig(
        autoencoder=AutoencoderConfig(width=4), discriminator=PatchConfig(width=4, layers=1)
    ),
    "ganformer2": GANformer2Config(execution=ExecutionConfig(resolution=8)),
}


@pytest.mark.parametrize("kind", SMALL)
def test_every_kind_logs_it(kind):
    """Every step has one update that logs it; that of penalties alone does not."""
    config = SMALL[kind]
    schedule = ScheduleConfig("cosine", final=0.0, kimg=1.0)
    groups = {n: getattr(config, n) for n in dir(config) if n.endswith("optimizer")}
    scheduled = {
        name: dataclasses.replace(options, learning_rate_schedule=schedule)
        for name, options in groups.items()
    }
    config, placement = dataclasses.replace(config, **scheduled), place_on(jax.devices()[:1])
    trainable = TRAININGS[type(config)].trainable(config, placement, no_images)
    state = jax.eval_shape(trainable.init, jax.random.key(0))
    for update in trainable.updates:
        _, info = jax.eval_shape(update.function, state, trainable.batch)
        assert ("schedule/learning_rate" in info) == (update.name != "penalty")


@pytest.mark.parametrize(("limit", "share"), [(None, 1.0), (2.5, 0.5), (10.0, 1.0)])
def test_gradients_are_clipped_to_a_norm(limit, share):
    options = TranslationOptimizerConfig(gradient_clip=limit, beta1=0.0)
    _, moments = first_step(make_adam(options), GRADIENTS)
    np.testing.assert_allclose(moments.mu["kernel"], share * GRADIENTS["kernel"], rtol=1e-5)


def test_matrices_decay_and_biases_do_not():
    options = PriorOptimizerConfig(learning_rate=0.1)
    nothing = jax.tree.map(jnp.zeros_like, PARAMS)
    updates, _ = first_step(make_adam(options, weight_decay=0.5), nothing)
    np.testing.assert_allclose(updates["kernel"], np.full((2, 2), -0.1 * 0.5), rtol=1e-5)
    np.testing.assert_array_equal(updates["bias"], np.zeros(2))
