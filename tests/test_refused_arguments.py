"""Arguments of another name, shape or type are refused by networks and losses in one line."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import random_variables, tiny_config

from ganformer_jax import (
    BipartiteAttention,
    DataParallel,
    Generator,
    TextEncoderConfig,
    Update,
    create_state,
    gan_updates,
    losses,
)
from ganformer_jax.models import make_discriminator
from ganformer_jax.models.text_encoder import TextEncoder
from ganformer_jax.nn.positions import GridPositions

TINY = tiny_config()
KEY = jax.random.key(0)
LABELED = dataclasses.replace(TINY.generator, label_size=3)
PLACES = dataclasses.replace(
    TINY.generator, attention=dataclasses.replace(TINY.generator.attention, places=True)
)
IMAGES = jnp.zeros((4, 8, 8, 3))


def replaced(config, **changes):
    return dataclasses.replace(config, **changes)


@functools.cache
def network_and_variables(config):
    """A generator and variables that are never compiled."""
    network = Generator(config)
    z = jnp.zeros((2, config.num_latents, config.z_size))
    labels = jnp.zeros((2, config.label_size)) if config.label_size else None
    init = functools.partial(network.init, KEY, noise="const")
    return network, random_variables(lambda: init(z, labels)), z


def applied(config, *inputs, **options):
    """Shapes of what a generator returns."""
    network, variables, _ = network_and_variables(config)
    options = {"rngs": {"noise": KEY}} | options
    return jax.eval_shape(lambda: network.apply(variables, *inputs, **options))


@pytest.mark.parametrize(
    ("seeds", "error", "message"),
    [
        (np.arange(3), ValueError, r"noise seeds \[3\]: give \[2\]"),
        (np.zeros((2, 1), int), ValueError, r"noise seeds \[2, 1\]: give \[2\]"),
        (3, ValueError, r"noise seeds \[\]: give \[2\]"),
        (np.zeros(2), TypeError, "noise seeds are float64: give integers"),
    ],
)
def test_noise_seeds_are_one_integer_for_each_image(seeds, error, message):
    _, _, z = network_and_variables(TINY.generator)
    applied(TINY.generator, z, noise_seeds_B=np.arange(2))
    with pytest.raises(error, match=message):
        applied(TINY.generator, z, noise_seeds_B=seeds)


@pytest.mark.parametrize("shape", [(2, 2), (2, 3, 2), (1, 2, 2), (2, 2, 3)])
def test_a_shift_is_two_numbers_for_each_component(shape):
    """[K, 2] was read as [B, K, 2] where a batch has as many images as components."""
    network, _, z = network_and_variables(PLACES)
    w = jnp.zeros((*z.shape[:2], network.num_layers, PLACES.w_size))
    shifted = functools.partial(applied, PLACES, w, noise="const", method="synthesize")
    shifted(component_shift_BxKx2=np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match=r"component shift .*: give \[2, 2, 2\]"):
        shifted(component_shift_BxKx2=np.zeros(shape))


def test_a_mask_is_one_number_for_each_component():
    """`map` did not look at one that nothing in the mapping network reads."""
    _, _, z = network_and_variables(TINY.generator)
    with pytest.raises(ValueError, match=r"component mask \[2, 3\]: give \[2, 2\]"):
        applied(TINY.generator, z, method="map", component_mask_BxK=np.ones((2, 3)))


@pytest.mark.parametrize("count", [1, 3])
def test_there_are_as_many_labels_as_images(count):
    _, _, z = network_and_variables(LABELED)
    with pytest.raises(ValueError, match=rf"labels \[{count}, 3\] for 2 images"):
        applied(LABELED, z, np.zeros((count, 3)), method="map")
    for network in ("stylegan2", "dcgan", "sagan"):
        discriminator = make_discriminator(replaced(TINY.discriminator, network=network))
        with pytest.raises(ValueError, match=rf"labels \[{count}, 3\] for 4 images"):
            jax.eval_shape(discriminator.init, KEY, IMAGES, np.zeros((count, 3)))


@pytest.mark.parametrize("network", ["stylegan2", "dcgan", "sagan"])
@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (jnp.zeros((4, 8, 8, 3), jnp.uint8), TypeError, r"uint8: convert them to \[-1, 1\]"),
        (IMAGES[0], ValueError, r"images \[8, 8, 3\]: give \[batch, height, width, channels\]"),
        (jnp.zeros((4, 12, 12, 3)), ValueError, "12x12 are not the base grid, 4x4, doubled"),
    ],
)
def test_every_discriminator_checks_its_images(network, images, error, message):
    discriminator = make_discriminator(replaced(TINY.discriminator, network=network))
    with pytest.raises(error, match=message):
        jax.eval_shape(discriminator.init, KEY, images)


def test_unknown_names_list_the_known_ones():
    logits, updates = jnp.zeros((2, 1)), "one of non_saturating, .*, relativistic"
    with pytest.raises(ValueError, match=f"loss is 'hinges'; .*{updates}; did you mean hinge?"):
        losses.generator_loss("hinges", logits)
    with pytest.raises(ValueError, match="is 'gan'; it should be one of stylegan2, dcgan, sagan"):
        make_discriminator(replaced(TINY.discriminator, network="gan"))
    generator = Generator(replaced(TINY.generator, network="gan"))
    with pytest.raises(ValueError, match="is 'gan'; it should be one of ganformer, dcgan, sagan"):
        jax.eval_shape(generator.init, KEY, jnp.zeros((2, 3, 4)))
    with pytest.raises(ValueError, match="positions is 'sine'; .*; did you mean sinus?"):
        GridPositions(4, 4, 8, "sine").init(KEY)
    config = replaced(TINY, loss=replaced(TINY.loss, discriminator="hinges"))
    state = jax.eval_shape(lambda: create_state(config, KEY))
    batch = {"images": jax.ShapeDtypeStruct((4, 8, 8, 3), np.uint8)}
    with pytest.raises(ValueError, match="discriminator's loss is 'hinges'"):
        jax.eval_shape(gan_updates(config)[-1].function, state, batch)


@pytest.mark.parametrize("wrong", ["x", "y"])
def test_attention_refuses_integers(wrong):
    """To which the result was rounded."""
    arrays = {"x": jnp.ones((2, 6, 8)), "y": jnp.ones((2, 3, 5))}
    arrays[wrong] = arrays[wrong].astype(jnp.int32)
    with pytest.raises(TypeError, match=f"{wrong} is int32: convert it to floating point"):
        jax.eval_shape(BipartiteAttention().init, KEY, *arrays.values())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"network": "dcgan", "components": 0},
        {"network": "sagan", "components": 0},
        {"components_attend_image": True, "components_attend_components": True},
        {"local_attention_below": 8},
        {"mapping": replaced(TINY.generator.mapping, shared_width=8)},
    ],
)
def test_an_empty_batch_has_empty_results(changes):
    config = replaced(TINY.generator, **changes)
    z = jnp.zeros((0, config.num_latents, config.z_size))
    generator = functools.partial(Generator(config).init_with_output, noise="const")
    (images, _), _ = jax.eval_shape(generator, KEY, z)
    assert images.shape == (0, 8, 8, 3)
    if (network := config.network) == "ganformer":
        network = "stylegan2"
    discriminator = make_discriminator(replaced(TINY.discriminator, network=network))
    (logits, _), _ = jax.eval_shape(discriminator.init_with_output, KEY, IMAGES[:0])
    assert logits.shape == (0, 1)


@pytest.mark.parametrize(
    ("tokens", "vocabulary", "error", "message"),
    [
        (np.ones(3, int), 9, ValueError, r"tokens \[3\]: give \[batch, tokens\]"),
        (np.ones((2, 3), np.float32), 9, TypeError, "tokens are float32: give integers"),
        (np.ones((2, 3), int), 0, ValueError, "vocabulary of the encoder is 0"),
    ],
)
def test_an_encoder_reads_integers_of_a_vocabulary(tokens, vocabulary, error, message):
    encoder = TextEncoder(TextEncoderConfig(vocabulary=vocabulary))
    with pytest.raises(error, match=message):
        jax.eval_shape(encoder.init, KEY, tokens)


# Training


@pytest.mark.parametrize("interval", [0, -2])
def test_an_update_has_an_interval(interval):
    """The remainder of a step by 0 was an error of Python's, when the step came."""
    with pytest.raises(ValueError, match=f"interval of r1 is {interval}: it should be 1 or more"):
        Update("r1", lambda state, batch: (state, {}), interval)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": None}, r"the batch has no images: give uint8 \[batch, 8, 8, 3\]"),
        ({"labels": None}, r"the batch has no labels: give float32 \[batch, 3\]"),
        ({"labels": (2, 3)}, r"labels are float32 \[2, 3\] for 4 images"),
        ({"images": (0, 8, 8, 3), "labels": (0, 3)}, r"images are uint8 \[0, .* for 0 images"),
    ],
)
def test_batches_without_what_is_needed(changes, message):
    config = replaced(TINY, generator=LABELED)
    shapes = {"images": (4, 8, 8, 3), "labels": (4, 3)} | changes
    types = {"images": np.uint8, "labels": np.float32}
    batch = {n: jax.ShapeDtypeStruct(s, types[n]) for n, s in shapes.items() if s is not None}
    state = jax.eval_shape(lambda: create_state(config, KEY))
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(gan_updates(config)[-1].function, state, batch)


def test_microbatches_divide_the_batch():
    config = replaced(TINY, train=replaced(TINY.train, accumulate=3))
    state = jax.eval_shape(lambda: create_state(config, KEY))
    batch = {"images": jax.ShapeDtypeStruct((4, 8, 8, 3), np.uint8)}
    with pytest.raises(ValueError, match="train.accumulate is 3: it should divide a batch of 4"):
        jax.eval_shape(gan_updates(config)[-1].function, state, batch)


def test_a_batch_is_sharded_on_a_mesh():
    one: Any = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    with pytest.raises(TypeError, match="is a SingleDeviceSharding: give NamedSharding"):
        DataParallel(one)
