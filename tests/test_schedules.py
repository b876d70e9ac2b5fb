"""Options that change in training: their values, what they reach, and what is refused."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import BATCH, random_batch, tiny_config
from training import assert_close, gan_programs, on_host, sgd, train_gan

from ganformer_jax.config import AugmentConfig, Config, ScheduleConfig
from ganformer_jax.config.checks import validate
from ganformer_jax.config.dicts import from_dict
from ganformer_jax.errors import UserError
from ganformer_jax.train import schedules, updates
from ganformer_jax.train.checkpoints.checkpoints import Checkpoints
from ganformer_jax.train.networks import Networks
from ganformer_jax.train.state import STATE_VERSION, create_state, make_optimizers

CONSTANT = ScheduleConfig()
LINEAR = ScheduleConfig("linear", final=0.25, kimg=10.0)
COSINE = ScheduleConfig("cosine", final=0.25, kimg=10.0)
WARM = ScheduleConfig("linear", final=0.25, kimg=10.0, warmup_kimg=2.0)
LATE = ScheduleConfig("linear", final=0.25, kimg=10.0, warmup_kimg=1.0, constant_kimg=4.0)


PLAIN = tiny_config(components=0)


def with_optimizer(config: Config = PLAIN, **values: Any) -> Config:
    return dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, **values))


@pytest.mark.parametrize(
    ("schedule", "kimg", "expected"),
    [
        (LINEAR, 0.0, 2.0),
        (LINEAR, 2.5, 2.0 - 0.25 * 1.75),
        (LINEAR, 10.0, 0.25),
        (LINEAR, 1e6, 0.25),
        (COSINE, 0.0, 2.0),
        (COSINE, 2.5, 0.25 + 1.75 * (1 + np.cos(np.pi / 4)) / 2),
        (COSINE, 5.0, 1.125),
        (COSINE, 10.0, 0.25),
        (COSINE, 20.0, 0.25),
        (WARM, 0.0, 0.0),
        (WARM, 0.5, 0.5),
        (WARM, 2.0, 2.0),
        (WARM, 6.0, 1.125),
        (WARM, 11.0, 0.25),
        (LATE, 0.5, 1.0),
        (LATE, 1.0, 2.0),
        (LATE, 4.0, 2.0),
        (LATE, 7.0, 1.125),
        (LATE, 11.0, 0.25),
        (ScheduleConfig(warmup_kimg=4.0), 1.0, 0.5),
        (ScheduleConfig(warmup_kimg=4.0), 9.0, 2.0),
    ],
)
def test_values(schedule, kimg, expected):
    """The same whether the number of images is known or traced."""
    images = round(1000 * kimg)
    traced = jax.jit(lambda seen: schedules.value(schedule, 2.0, seen))(jnp.int32(images))
    for found in (schedules.value(schedule, 2.0, images), traced):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert jnp.asarray(found).dtype == jnp.float32


def test_what_does_not_change_stays_a_number_of_python():
    """Programs are then those without schedules, to the bit."""
    assert schedules.value(CONSTANT, 0.1, jnp.int32(7)) == 0.1
    assert type(schedules.value(CONSTANT, 0.1, jnp.int32(7))) is float
    assert schedules.value(LINEAR, 0.1, None) == 0.1


def test_another_option_keeps_its_ratio():
    for seen in (0, 3_000, 20_000):
        one = schedules.value(COSINE, 2.0, seen)
        other = schedules.value(schedules.scaled(COSINE, 2.0, 0.5), 0.5, seen)
        np.testing.assert_allclose(other, np.asarray(one) / 4, rtol=1e-6)
    assert schedules.scaled(CONSTANT, 0.0, 0.5) is CONSTANT


def adams_first_step(optimizer: Any) -> tuple[Any, Any]:
    """Its length, which is the learning rate, and the second moment of a gradient of 3."""
    parameter = jnp.ones(())
    update, memory = optimizer.update(jnp.float32(3.0), optimizer.init(parameter), parameter)
    return -jnp.asarray(update), jax.tree.leaves(memory)[-1]


def test_adam_takes_the_values_of_its_schedules():
    beta2 = ScheduleConfig("linear", final=0.5, kimg=10.0)
    config = with_optimizer(
        tiny_config(components=0, r1_interval=3),
        learning_rate=2.0,
        learning_rate_schedule=LINEAR,
        discriminator_learning_rate=1.0,
        beta2=0.9,
        beta2_schedule=beta2,
    )

    @jax.jit
    def steps(seen):
        return [adams_first_step(optimizer) for optimizer in make_optimizers(config, seen)]

    for images, rate, decay in ((0, 2.0, 0.9), (5_000, 1.125, 0.7), (30_000, 0.25, 0.5)):
        generator, discriminator = steps(jnp.int32(images))
        np.testing.assert_allclose(generator, (rate, 9 * (1 - decay)), rtol=1e-5)
        expected = rate / 2 * 3 / 4, 9 * (1 - decay**0.75)  # lazy regularization every 3 steps
        np.testing.assert_allclose(discriminator, expected, rtol=1e-5)


def test_learning_rates_of_two_networks():
    rates = [adams_first_step(optimizer)[0] for optimizer in make_optimizers(with_optimizer())]
    np.testing.assert_allclose(rates, [0.002, 0.002 * 16 / 17], rtol=1e-5)
    config = with_optimizer(discriminator_learning_rate=0.01)
    rates = [adams_first_step(optimizer)[0] for optimizer in make_optimizers(config)]
    np.testing.assert_allclose(rates, [0.002, 0.01 * 16 / 17], rtol=1e-5)


ALL = with_optimizer(
    tiny_config(components=0, r1_gamma_schedule=COSINE, r2_gamma=5.0, r1_interval=1),
    learning_rate_schedule=WARM,
    beta2_schedule=ScheduleConfig("cosine", final=0.5, kimg=0.064),
    ema_kimg_schedule=COSINE,
    ema_rampup=None,
    gradient_clip=1.0,
    discriminator_learning_rate=0.003,
)


@functools.cache
def first_state(config, optimizers=None):
    create = functools.partial(create_state, config, optimizers=optimizers)
    return jax.jit(create)(jax.random.key(1))


def test_the_state_has_the_same_structure():
    """So checkpoints from before there were schedules resume."""

    def shapes(config):
        state = jax.eval_shape(functools.partial(create_state, config), jax.random.key(0))
        return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state)

    assert shapes(ALL) == shapes(tiny_config(components=0))


def test_a_network_learns_at_the_scheduled_rate():
    """Not at all once the rate is 0; with optimizers of the user's own, at theirs."""
    schedule = ScheduleConfig("linear", final=0.0, kimg=1.0)
    config, batch = with_optimizer(learning_rate_schedule=schedule), random_batch(0)
    changed = []
    for images in (500, 1_000):
        state = first_state(config).replace(images_seen=jnp.int32(images))
        after, _ = jax.jit(functools.partial(updates.generator_update, Networks(config)))(
            state, batch
        )
        pairs = zip(jax.tree.leaves(state.generator), jax.tree.leaves(after.generator), strict=True)
        changed.append(any(not np.array_equal(a, b) for a, b in pairs))
    assert changed == [True, False]


def test_penalties_follow_the_schedule_of_r1():
    config = tiny_config(components=0, r1_gamma_schedule=LINEAR, r1_gamma=2.0, r2_gamma=1.0)
    state = first_state(config, sgd())
    update = jax.jit(
        functools.partial(updates.discriminator_penalty_update, Networks(config, optimizers=sgd()))
    )
    start, end = (
        update(state.replace(images_seen=jnp.int32(images)), random_batch(0))[1]
        for images in (0, 10_000)
    )
    for name in ("loss/r1", "loss/r2"):
        assert start[name] > 0
        np.testing.assert_allclose(end[name], start[name] / 8, rtol=1e-5)


def test_the_average_follows_its_schedule():
    schedule = ScheduleConfig("linear", final=0.0, kimg=2 * BATCH / 1000)
    config = with_optimizer(ema_kimg=2 * BATCH / 1000, ema_rampup=None, ema_kimg_schedule=schedule)
    state = first_state(config).replace(images_seen=jnp.int32(BATCH))  # half of it is left
    moved = state.replace(ema=jax.tree.map(lambda p: p + 1, state.generator))
    after = updates.ema_update(Networks(config), moved, BATCH)
    assert_close(after.ema, jax.tree.map(lambda p: p + 0.5, state.generator))


def test_values_that_change_are_logged():
    logged = schedules.current_values(ALL, jnp.int32(1_000))
    expected = {"learning_rate": 0.001, "beta2": 0.5, "ema_kimg": 9.761, "r1_gamma": 9.761}
    assert set(logged) == {f"schedule/{name}" for name in expected}
    for name, value in expected.items():
        np.testing.assert_allclose(logged[f"schedule/{name}"], value, rtol=1e-4)
    assert not schedules.current_values(tiny_config(), jnp.int32(1_000))
    theirs = schedules.current_values(ALL, jnp.int32(1_000), own_adam=False)
    assert set(theirs) == {"schedule/ema_kimg", "schedule/r1_gamma"}


@pytest.mark.slow
def test_a_run_that_resumes_continues_what_changes(tmp_path):
    """As one that was not interrupted, to the bit.

    Every schedule changes within these steps, and so does the probability of augmentation, after
    an interval of steps that the interruption divides.
    """

    def kept(kind, final, kimg):
        return ScheduleConfig(kind, final=final, kimg=kimg, warmup_kimg=0.016)

    def train_to(kimg, folder):
        config = with_optimizer(
            dataclasses.replace(
                ALL,
                loss=dataclasses.replace(ALL.loss, r1_gamma_schedule=kept("cosine", 1.0, 0.1)),
                augment=AugmentConfig(("contrast",), p=0.5, kimg=1.0, interval=3),
                train=dataclasses.replace(ALL.train, total_kimg=kimg, log_kimg=0.0),
            ),
            learning_rate_schedule=kept("linear", 0.0001, 0.1),
            ema_kimg_schedule=kept("linear", 0.01, 0.1),
        )
        assert train_gan(config, folder)
        with Checkpoints(folder, read_only=True, version=STATE_VERSION) as checkpoints:
            return config, checkpoints.steps()[-1]

    _, first = train_to(0.032, tmp_path / "two")
    assert first == 2
    states = []
    for name in ("two", "one"):
        config, step = train_to(0.08, tmp_path / name)
        assert step == 5
        abstract = gan_programs(config).abstract_state()
        with Checkpoints(tmp_path / name, read_only=True, version=STATE_VERSION) as checkpoints:
            states.append(on_host(checkpoints.restore(abstract)))
    assert float(states[0].augment.p) != 0.5
    for one, other in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"optimizer": {"learning_rate_schedule": {"kind": "cosine", "kimg": 1.0}}},
            "optimizer.learning_rate_schedule.kind cosine needs .*schedule.final",
        ),
        (
            {"loss": {"r1_gamma_schedule": {"kind": "linear", "final": 1.0}}},
            "loss.r1_gamma_schedule.kind linear needs loss.r1_gamma_schedule.kimg",
        ),
        (
            {"optimizer": {"ema_kimg_schedule": {"final": 1.0}}},
            "ema_kimg_schedule.final has no effect: set optimizer.ema_kimg_schedule.kind",
        ),
        (
            {"optimizer": {"beta2_schedule": {"kind": "linear", "final": 1.5, "kimg": 1.0}}},
            "optimizer.beta2_schedule.final is 1.5; it should be 0 or more, below 1",
        ),
        (
            {
                "optimizer": {
                    "beta2_schedule": {
                        "kind": "linear",
                        "final": 0.9,
                        "kimg": 1.0,
                        "warmup_kimg": 1.0,
                    }
                }
            },
            "beta2_schedule.kimg is 1.0; it should be above .*warmup_kimg, 1.0",
        ),
        (
            {"optimizer": {"beta2_schedule": {"constant_kimg": 2.0}}},
            "beta2_schedule.constant_kimg has no effect: set .*beta2_schedule.kind",
        ),
        (
            {"loss": {"r1_gamma": 0.0, "r1_gamma_schedule": {"warmup_kimg": 1.0}}},
            "loss.r1_gamma is 0; loss.r1_gamma_schedule needs one above 0",
        ),
        (
            {"optimizer": {"gradient_clip": 0.0}},
            "optimizer.gradient_clip is 0.0; it should be above 0",
        ),
        (
            {"loss": {"generator": "relativistic"}},
            "discriminator logistic; relativistic needs both: set both to relativistic",
        ),
        (
            {"loss": {"generator": "hinge", "discriminator": "least_squares"}},
            "least_squares needs both: set both to least_squares",
        ),
        (
            {"loss": {"r2_gamma": 1.0, "r1_interval": 0}},
            "loss.r2_gamma is 1.0, but loss.r1_interval 0 turns it off",
        ),
    ],
)
def test_what_does_not_fit_together(values, message):
    with pytest.raises(UserError, match=message):
        validate(from_dict(Config, values))


def test_what_fits_together():
    validate(ALL)
    for names in (("relativistic",) * 2, ("least_squares",) * 2, ("hinge", "wgan")):
        validate(tiny_config(**dict(zip(("generator", "discriminator"), names, strict=True))))
