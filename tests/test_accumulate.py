"""Batches in parts and blocks computed twice: less memory, the same training."""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import FULL, labeled_batch, random_variables, tiny_config
from training import assert_close, gan_programs, run_steps, sgd

from ganformer_jax.config import AggregatorConfig, AugmentConfig
from ganformer_jax.config.checks import check_batch
from ganformer_jax.errors import UserError
from ganformer_jax.models import Discriminator
from ganformer_jax.nn.layers import Dropout, minibatch_stddev
from ganformer_jax.nn.microbatch import FULL_BATCH, Microbatch
from ganformer_jax.train.accumulate import microbatches
from ganformer_jax.train.devices import smallest_batch
from ganformer_jax.train.networks import Networks
from ganformer_jax.train.pmap import pmap_updates

SAVING = {"accumulate": 4, "rematerialize": True}


def experiment(path_length_weight=0.0, slow=False, **train):
    """Noise, mixing, losses about labels, and R1.

    If `slow`, also attention, its dropout, and augmentation that moves pixels and draws numbers for
    each: these take most of the time to compile.
    """
    generator, discriminator, augment = FULL.generator, FULL.discriminator, FULL.augment
    if slow:
        generator = dataclasses.replace(
            generator,
            component_dropout=0.3,
            components_attend_components=True,
            mapping=dataclasses.replace(generator.mapping, self_attention=True),
        )
        discriminator = dataclasses.replace(
            discriminator, aggregators=AggregatorConfig(count=2, width=4, dropout=0.3)
        )
        augment = AugmentConfig(
            transforms=("scale", "noise"),
            mode="adaptive",
            p=0.7,
            diff_augment=("color", "translation", "cutout"),
            interval=1,
        )
    else:
        generator = dataclasses.replace(generator, components=0)
    return dataclasses.replace(
        FULL,
        generator=generator,
        discriminator=discriminator,
        augment=augment,
        loss=dataclasses.replace(FULL.loss, path_length_weight=path_length_weight),
        train=dataclasses.replace(FULL.train, **train),
    )


@functools.cache
def programs_of(**options):
    return gan_programs(experiment(**options), optimizers=sgd())


@functools.cache
def two_steps(**options):
    """The first with the regularizers; noise has no effect before it."""
    return run_steps(programs_of(**options), [labeled_batch(0), labeled_batch(1)])


def test_steps_are_those_of_the_whole_batch():
    assert_close(two_steps(), two_steps(**SAVING), rtol=1e-4, atol=2e-6)


@pytest.mark.slow
def test_steps_with_everything_are_those_of_the_whole_batch():
    more = {"path_length_weight": 2.0, "slow": True}
    one, other = (two_steps(**more, **train) for train in ({}, SAVING))
    assert_close(one, other, rtol=1e-4, atol=2e-6)
    assert "loss/path_length" in one[1][0]


def test_another_order_of_images_would_show():
    """Steps depend on which images share a group, labels and draws, so equality says something."""
    batches = [{n: a[::-1] for n, a in labeled_batch(i).items()} for i in (0, 1)]
    with pytest.raises(AssertionError):
        assert_close(two_steps(), run_steps(programs_of(), batches), rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("number", range(2), ids=["r1", "adversarial"])
def test_parts_take_less_memory(number):
    for programs in (programs_of(), programs_of(**SAVING)):
        programs.wait()
    whole, parts = (
        programs.compiled[number].function.memory_analysis().temp_size_in_bytes
        for programs in (programs_of(), programs_of(**SAVING))
    )
    assert parts < 0.5 * whole


@pytest.mark.parametrize(("batch", "group", "parts"), [(16, 4, 2), (16, 4, 4), (24, 3, 4)])
def test_groups_of_the_minibatch_stddev_stay_whole_in_parts(batch, group, parts):
    x = jax.random.normal(jax.random.key(0), (batch, 2, 2, 4))
    whole = minibatch_stddev(x, group, 2)
    for index in range(parts):
        microbatch = Microbatch(index, parts)
        np.testing.assert_array_equal(
            minibatch_stddev(microbatch.take(x), group, 2), microbatch.take(whole)
        )


def test_microbatches_take_every_image_once_and_draw_what_the_full_batch_draws():
    x = jnp.arange(12).reshape(6, 2)
    np.testing.assert_array_equal(Microbatch(1, 3).take(x), x[1::3])
    assert FULL_BATCH.take(x) is x
    draw = functools.partial(jax.random.normal, jax.random.key(0))
    for index in range(3):
        drawn = Microbatch(jnp.int32(index), 3).draw(draw, (2, 5))
        np.testing.assert_array_equal(drawn, draw((6, 5))[index::3])


def test_microbatches_hold_every_image_once():
    batch = {name: jnp.asarray(leaf) for name, leaf in labeled_batch(0).items()}
    parts = list(microbatches(Networks(experiment(accumulate=4)), batch))
    assert len(parts) == 4
    for index, (networks, part) in enumerate(parts):
        assert networks.microbatch == Microbatch(index, 4) and part.keys() == batch.keys()
        for name, leaf in part.items():
            np.testing.assert_array_equal(leaf, Microbatch(index, 4).take(batch[name]))


@pytest.mark.parametrize("axes", [(), (2,)])
def test_dropout_is_that_of_flax(axes):
    """Names included, from which random keys derive."""
    x = jax.random.normal(jax.random.key(0), (6, 2, 5, 3))

    class Twice(nn.Module):
        kind: Any

        @nn.compact
        def __call__(self, x, microbatch=FULL_BATCH):
            for _ in range(2):
                x = self.kind(x, microbatch)
            return x

    def apply(kind, *arguments):
        return Twice(kind).apply({}, *arguments, rngs={"dropout": jax.random.key(1)})

    def ours(x, microbatch):
        return Dropout(0.3, axes)(x, microbatch)

    whole = apply(ours, x)
    expected = apply(lambda x, microbatch: nn.Dropout(0.3, axes)(x, False), x)
    np.testing.assert_array_equal(whole, expected)
    microbatch = Microbatch(1, 3)
    np.testing.assert_array_equal(
        apply(ours, microbatch.take(x), microbatch), microbatch.take(whole)
    )


def test_blocks_that_are_computed_again_keep_less():
    """What the gradients of the discriminator keep of the forward pass, at a size in practice."""
    config = dataclasses.replace(FULL.discriminator, channel_base=2048, channel_max=64)
    images = jax.ShapeDtypeStruct((4, 64, 64, 3), jnp.float32)

    def kept(rematerialize):
        network = Discriminator(config, rematerialize=rematerialize)
        params = random_variables(lambda: network.init(jax.random.key(0), jnp.zeros(images.shape)))

        def forward(params, images):
            return jax.vjp(lambda p: network.apply(p, images)[0], params)[1]

        residuals = jax.tree.leaves(jax.eval_shape(forward, params, images))
        weights = sum(leaf.size for leaf in jax.tree.leaves(params))
        return sum(leaf.size for leaf in residuals) - weights

    assert kept(True) < 0.4 * kept(False)


@pytest.mark.parametrize(
    ("config", "devices", "message"),
    [
        (tiny_config(), 1, "multiple of 3 .1 device times train.accumulate 3., such as 15"),
        (tiny_config(), 8, "multiple of 32 .8 devices times train.accumulate 4., such as 32"),
        (tiny_config(path_length_weight=1.0), 2, "path_length_batch_shrink.*train.accumulate 8"),
        (tiny_config(), 1, "minibatch_stddev_group 4 times train.accumulate 8"),
    ],
)
def test_parts_that_do_not_divide(config, devices, message):
    parts = int(message.partition("accumulate ")[2][0])
    train = dataclasses.replace(config.train, accumulate=parts)
    with pytest.raises(UserError, match=message):
        check_batch(dataclasses.replace(config, train=train), devices)


def test_what_is_not_finite_is_found_in_parts_and_inside_blocks():
    config = tiny_config(components=0)
    train = dataclasses.replace(config.train, accumulate=2, rematerialize=True)
    programs = gan_programs(dataclasses.replace(config, train=train))
    state = programs.init(jax.random.key(0))
    block = state.discriminator["block_8"]
    bias = jnp.full_like(block["convolution_0"]["bias"], 3e38)  # the gain of sqrt(2) is too much
    changed = {"convolution_0": block["convolution_0"] | {"bias": bias}}
    state = state.replace(discriminator=state.discriminator | {"block_8": block | changed})
    batch = {"images": jnp.asarray(labeled_batch(0)["images"])}
    found = programs.trainable.diagnose(state, batch)
    assert found == "output of discriminator/block_8/convolution_0"


def test_devices_share_a_part():
    assert smallest_batch(experiment(2.0)) == 8  # of path length, half of 16
    assert smallest_batch(experiment(2.0, accumulate=4)) == 2


def test_pmap_refuses_parts():
    with pytest.raises(UserError, match="train.accumulate"):
        pmap_updates(experiment(accumulate=2))
