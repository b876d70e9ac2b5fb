"""Attention in the discriminator: aggregators, among image positions, and local."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import random_variables

from ganformer_jax import AggregatorConfig, Discriminator, DiscriminatorConfig, UserError
from ganformer_jax.config import GeneratorConfig, PositionConfig
from ganformer_jax.models import validate_networks
from ganformer_jax.nn.microbatch import Microbatch

BATCH, RESOLUTION = 4, 8
PLAIN = DiscriminatorConfig(channel_base=64, channel_max=8, minibatch_stddev_group=2)
AGGREGATORS = AggregatorConfig(count=3, width=12, dropout=0.5)
EVERYTHING = dataclasses.replace(
    AGGREGATORS, image_attends=True, attend_each_other=True, heads=2, gate=True, gate_image=True
)
TOGETHER = {
    "aggregators": {"aggregators": AGGREGATORS},
    "everything": {
        "aggregators": EVERYTHING,
        "image_attention_resolution": 8,
        "positions": PositionConfig(kind="trainable"),
        "local_attention_below": 16,
        "architecture": "skip",
    },
    "no positions of aggregators": {
        "aggregators": dataclasses.replace(AGGREGATORS, positions=False, resolutions=(8, 8)),
        "minibatch_stddev_channels": 0,
    },
    "image positions alone": {
        "aggregators": AggregatorConfig(width=8),
        "image_attention_resolution": 8,
    },
}


def build(**fields):
    discriminator = Discriminator(dataclasses.replace(PLAIN, **fields))
    images = jax.random.normal(jax.random.key(0), (BATCH, RESOLUTION, RESOLUTION, 3))
    variables = random_variables(lambda: discriminator.init(jax.random.key(1), images))
    return discriminator, variables, images


@pytest.mark.parametrize("name", TOGETHER)
def test_all_parameters_take_part_in_the_logit_and_its_gradient_at_images(name):
    """The gradients of R1 reach every parameter, those that move all scores alike apart."""
    discriminator, variables, images = build(**TOGETHER[name])

    def logits(params, images):
        return discriminator.apply({**variables, "params": params}, images)[0]

    @jax.jit
    @jax.grad
    def r1(params):
        slopes = jax.grad(lambda images: logits(params, images).sum())(images)
        return jnp.sum(jnp.square(slopes)) + jnp.sum(logits(params, images))

    gradients = jax.device_get(r1(variables["params"]))
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        assert np.isfinite(gradient).all(), name
        if not name.endswith(("keys/bias", "key_positions/bias")):
            assert gradient.any(), f"{name} is never used"


def test_aggregators_gather_where_they_are_asked_to():
    options = dataclasses.replace(AGGREGATORS, resolutions=(16, 16))
    discriminator = Discriminator(dataclasses.replace(PLAIN, aggregators=options))
    images = jnp.zeros((BATCH, 16, 16, 3))
    variables = jax.eval_shape(discriminator.init, jax.random.key(0), images)
    assert "attention" in variables["params"]["block_16"]
    assert "attention" not in variables["params"]["block_8"]


def test_microbatches_draw_the_dropout_of_the_whole():
    fields = TOGETHER["everything"] | {"minibatch_stddev_channels": 0}
    discriminator, variables, images = build(**fields)

    @functools.partial(jax.jit, static_argnames=("train", "parts"))
    def logits(images, index=0, *, train=True, parts=1):
        rngs, microbatch = {"dropout": jax.random.key(3)}, Microbatch(index, parts)
        return discriminator.apply(
            variables, images, train=train, microbatch=microbatch, rngs=rngs
        )[0]

    whole = logits(images)
    assert bool(jnp.any(whole != logits(images, train=False)))
    for index in range(2):
        microbatch = Microbatch(index, 2)
        part = logits(microbatch.take(images), index, parts=2)
        np.testing.assert_allclose(part, microbatch.take(whole), rtol=2e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"aggregators": dataclasses.replace(AGGREGATORS, resolutions=(64, 128))},
            r"aggregators.resolutions is \[64, 128\], but the discriminator's blocks have 8",
        ),
        (
            {"aggregators": dataclasses.replace(AGGREGATORS, heads=5)},
            "aggregators.heads is 5, which does not divide the width of the aggregators, 12",
        ),
        (
            {"aggregators": dataclasses.replace(EVERYTHING, heads=3)},
            "aggregators.heads is 3, which does not divide the channels at 8x8, 8",
        ),
        (
            {"aggregators": dataclasses.replace(AGGREGATORS, width=6)},
            "set discriminator.positions.size or discriminator.positions.directions",
        ),
        (
            {"image_attention_resolution": 4},
            "discriminator.image_attention_resolution is 4; it should be one of 8",
        ),
        ({"local_attention_below": 8}, "discriminator.local_attention_below 8 has no effect"),
        (
            {"local_attention_below": 32, "channel_max": 6},
            "local_attention_below is 32, but its 4 heads do not divide the 6 channels at 8x8",
        ),
    ],
)
def test_options_that_do_not_fit_are_named(fields, message):
    with pytest.raises(UserError, match=message):
        validate_networks(
            GeneratorConfig(resolution=RESOLUTION), dataclasses.replace(PLAIN, **fields)
        )
