"""Augmentation in training: what sees it, how its probability adapts, devices, resuming."""

import dataclasses
import functools
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from eight_devices import on_eight_devices
from sharing import compare_parts
from tiny import BATCH, random_batch, tiny_config
from training import gan_programs, run_steps, sgd

from ganformer_jax import augment, losses
from ganformer_jax.config import AugmentConfig, Config
from ganformer_jax.config.checks import validate
from ganformer_jax.config.dicts import from_dict
from ganformer_jax.errors import UserError
from ganformer_jax.models import Discriminator
from ganformer_jax.pixels import from_uint8
from ganformer_jax.train import updates
from ganformer_jax.train.augmentation import adapt, probability
from ganformer_jax.train.networks import Networks
from ganformer_jax.train.state import create_state

PENALTIES = {"r1_gamma": 2.0, "r2_gamma": 3.0, "gradient_penalty_weight": 5.0}


def augmented(config=None, **values) -> Config:
    values = {"transforms": ("bgcfnc",), "mode": "fixed", "p": 0.7} | values
    return dataclasses.replace(config or tiny_config(0), augment=AugmentConfig(**values))


ADAPTIVE = augmented(
    tiny_config(0, r1_gamma=0.0),
    transforms=("contrast",),
    mode="adaptive",
    p=0.5,
    kimg=1.0,
    interval=2,
)
KINDS = ("xint", "scale", "hue", "noise", "cutout")
BOTH = augmented(transforms=KINDS, diff_augment=("color", "translation", "cutout"))


@functools.cache
def first_state(config):
    return jax.jit(lambda key: create_state(config, key, sgd()))(jax.random.key(1))


def test_options_name_all_transformations():
    hint = typing.get_type_hints(AugmentConfig)["transforms"]
    choices = typing.get_args(typing.get_args(hint)[0])
    assert set(choices) == {*augment.PRESETS, *augment.TRANSFORMS}
    hint = typing.get_type_hints(AugmentConfig)["diff_augment"]
    assert typing.get_args(typing.get_args(hint)[0]) == augment.POLICIES


@pytest.mark.parametrize("name", ["generator_update", "discriminator_update"])
def test_the_discriminator_sees_augmented_images(name):
    """Of every kind, with numbers of their own; written out from the functional API."""
    state, networks = first_state(BOTH), Networks(BOTH, optimizers=sgd())
    keys = networks.keys(state, name.removesuffix("_update"))
    reals = from_uint8(jnp.asarray(random_batch(0)["images"]))

    @jax.jit
    def generate():
        w, _ = networks.sample_w(state.generator, state, keys, None, BATCH)
        return networks.synthesize(state.generator, state, keys, w)

    @functools.partial(jax.jit, static_argnames="key")
    def logits(images, key):
        one, other = jax.random.split(keys[key])
        images = augment.augment(images, one, 0.7, augment.expand(KINDS))
        images = augment.diff_augment(images, other, augment.POLICIES)
        return Discriminator(BOTH.discriminator).apply({"params": state.discriminator}, images)[0]

    update = jax.jit(functools.partial(getattr(updates, name), networks))
    _, info = update(state, random_batch(0))
    fake = logits(generate(), "augment_fake")
    if name == "generator_update":
        expected = {"loss/generator": losses.non_saturating_generator(fake)}
    else:
        real = logits(reals, "augment_real")
        expected = {"logits/real": real, "logits/fake": fake}
        expected["loss/discriminator"] = losses.logistic_discriminator(real, fake)
    for key, values in expected.items():
        assert float(info[key]) == pytest.approx(float(values.mean()), rel=1e-4), key


def test_penalties_are_on_gradients_at_images_before_augmentation():
    """A factor of 0 on every color leaves the discriminator nothing to follow."""
    config = augmented(tiny_config(0, r1_interval=1, r1_gamma=2.0), transforms=("contrast",))
    networks = Networks(config, optimizers=sgd())
    state = first_state(config)
    _, info = jax.jit(functools.partial(updates.discriminator_update, networks))(
        state, random_batch(0)
    )
    key = networks.keys(state, "discriminator")["augment_real"]
    reals = from_uint8(jnp.asarray(random_batch(0)["images"]))

    @jax.jit
    def penalty(images):
        return losses.r1_penalty(logits, images).mean()

    def logits(images):
        images = augment.augment(images, jax.random.split(key)[0], 0.7, {"contrast": 1.0})
        return Discriminator(config.discriminator).apply({"params": state.discriminator}, images)[0]

    assert float(info["loss/r1"]) == pytest.approx(float(penalty(reals)), rel=1e-4)


def test_probability_follows_overfitting():
    """Up by `count * interval / (1000 * kimg)` where the mean r_t is above the target."""
    config = augmented(mode="adaptive", target=0.5, kimg=1.0, interval=2)
    state = first_state(config)
    assert float(state.augment.p) == np.float32(0.7)
    seen = []
    for r_t in (0.9, 0.3, 0.5, 0.4, 1.0, 0.0, *[1.0] * 22, *[-1.0] * 80):
        state = adapt(config, state, {"overfitting/r_t": jnp.float32(r_t)}, 20)
        state = state.replace(step=state.step + 1)
        seen.append(float(state.augment.p))
    change = 20 * 2 / 1000
    assert seen[:5] == pytest.approx([0.7, 0.7 + change, 0.7 + change, 0.7, 0.7], abs=1e-6)
    assert seen[5] == pytest.approx(0.7, abs=1e-6)  # the mean is the target
    assert max(seen) == 1.0
    assert seen[27] == 1.0
    assert seen[29] == pytest.approx(1 - change, abs=1e-6)
    assert seen[-1] == 0.0


def test_steps_adapt_it():
    """Two steps make an interval, at the end of which p falls, as r_t is below the target."""
    options = dataclasses.replace(ADAPTIVE.augment, target=1.0)  # the largest r_t
    config = dataclasses.replace(ADAPTIVE, augment=options)
    state, infos = run_steps(
        gan_programs(config, optimizers=sgd()), [random_batch(i) for i in range(2)]
    )
    assert [float(info["augment/p"]) for info in infos] == [0.5, 0.5]
    assert float(state.augment.p) == pytest.approx(0.5 - 0.032, abs=1e-6)
    assert float(state.augment.r_t_sum) == 0


def test_a_fixed_probability_has_a_schedule():
    schedule = {"kind": "linear", "final": 0.4, "kimg": 1.0}
    options = {"mode": "fixed", "transforms": ["bgc"], "p_schedule": schedule}
    config = from_dict(Config, {"augment": options})
    validate(config)
    for images, expected in ((0, 0.0), (500, 0.2), (2000, 0.4)):
        state = first_state(BOTH).replace(images_seen=jnp.int32(images))
        assert float(probability(config, state)) == pytest.approx(expected)


JOINED = augmented(
    tiny_config(0, r1_interval=1, **PENALTIES),
    transforms=("scale", "noise"),  # one that moves pixels, and one with numbers for each
    mode="adaptive",
    p=0.7,
    diff_augment=("color", "translation", "cutout"),
    interval=1,
)


@pytest.mark.slow
def test_parts_of_a_batch_are_augmented_as_the_whole():
    compare_parts(JOINED, atol=1e-5)


@pytest.mark.slow
def test_devices():
    program = "import conftest, sharing, test_augment_training as test; "
    on_eight_devices(program + "sharing.compare_devices(test.JOINED)")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"augment": {"transforms": ["bgd"]}}, "augment.transforms must be one of .*did you mean"),
        ({"augment": {"p": 0.5}}, "augment.p has no effect: set augment.transforms"),
        (
            {"augment": {"transforms": ["bgc"], "mode": "fixed"}},
            "augment.transforms has no effect: set augment.p, or mode to adaptive",
        ),
        (
            {
                "augment": {"transforms": ["bgc"]},
                "loss": {"generator": "relativistic", "discriminator": "relativistic"},
            },
            "augment.mode is adaptive, but loss.discriminator relativistic has no r_t",
        ),
        (
            {
                "augment": {
                    "transforms": ["bgc"],
                    "p_schedule": {"kind": "linear", "final": 0.5, "kimg": 1.0},
                }
            },
            "augment.p_schedule has no effect: set augment.mode to fixed",
        ),
    ],
)
def test_what_does_not_fit_together(values, message):
    with pytest.raises(UserError, match=message):
        validate(from_dict(Config, values))
