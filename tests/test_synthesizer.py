"""Images made of latents are those of their seeds."""

import dataclasses

import jax
import numpy as np
import pytest
from tiny import random_variables, tiny_config

from ganformer_jax import Generator
from ganformer_jax.config.text import TextEncoderConfig
from ganformer_jax.models.noise_maps import noise_maps, noise_shapes
from ganformer_jax.sampling import Sampler, Synthesizer

CONFIG = dataclasses.replace(tiny_config(3).generator, latent_size=12, label_size=3)
SEEDS, LABELS = [4, 0, 2**32 - 1, 7, 11], [0, 1, 2, 0, 1]


@pytest.fixture(scope="module")
def variables():
    z_1xKxD = np.zeros((1, CONFIG.num_latents, CONFIG.z_size), np.float32)
    one_hot = np.eye(1, 3, dtype=np.float32)
    return random_variables(
        lambda: Generator(CONFIG).init(
            {"params": jax.random.key(0)}, z_1xKxD, one_hot, noise="const"
        )
    )


@pytest.mark.parametrize("noise", ["const", "random", "none"])
def test_images_of_latents_are_those_of_their_seeds(variables, noise):
    synthesizer = Synthesizer(CONFIG, 2, noise, attention=True)
    found = synthesizer.latents(variables, SEEDS, LABELS, 0.7, 2)
    made = synthesizer(variables, found)
    sampled = Sampler(CONFIG, 5, noise, attention=True)(variables, SEEDS, LABELS, 0.7, 2)
    np.testing.assert_allclose(made.images.astype(int), sampled.images, atol=1)
    for one, other in zip(made.attention, sampled.attention, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert [fact["seed"] for fact in found.facts] == SEEDS
    with jax.transfer_guard("disallow"):  # every transfer is explicit
        again = synthesizer(variables, synthesizer.latents(variables, SEEDS, LABELS, 0.7, 2))
    np.testing.assert_array_equal(again.images, made.images)
    # and made again, alone or in another order, they are the same
    order = [3, 1, 4, 0, 2]
    np.testing.assert_array_equal(
        synthesizer(variables, found.take(order)).images, made.images[order]
    )


def test_a_hidden_component_gets_no_attention(variables):
    synthesizer = Synthesizer(CONFIG, 5, attention=True)
    found = synthesizer.latents(variables, SEEDS, LABELS)
    hidden = synthesizer(variables, found.without(1))
    for layer in hidden.attention:
        assert layer[:, 1].max() == 0
        np.testing.assert_allclose(layer.sum(1), 1, atol=1e-5)
    before = synthesizer(variables, found)
    assert all(layer[:, 1].min() > 0 for layer in before.attention)
    assert (hidden.images != before.images).any()


def test_labels_in_between(variables):
    """A mixture of classes is mapped as the vector that it is."""
    synthesizer = Synthesizer(CONFIG, 2)
    z_BxKxD = synthesizer.z([1, 1, 1])
    np.testing.assert_array_equal(z_BxKxD, np.broadcast_to(z_BxKxD[:1], z_BxKxD.shape))
    vectors = [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0]]
    w = synthesizer.map(variables, z_BxKxD, vectors)
    np.testing.assert_array_equal(w[[0, 2]], synthesizer.map(variables, z_BxKxD[:2], [0, 1]))
    assert (w[1] != w[0]).any() and (w[1] != w[2]).any()


def test_what_cannot_be_mapped(variables):
    synthesizer = Synthesizer(CONFIG)
    with pytest.raises(ValueError, match="no seeds"):
        synthesizer.latents(variables, [], [])
    with pytest.raises(ValueError, match="no z"):
        synthesizer.map(variables, synthesizer.z([0])[:0], [])
    with pytest.raises(ValueError, match="label_size is 3"):
        synthesizer.latents(variables, [1])
    with pytest.raises(ValueError, match="from 0 to 2"):
        synthesizer.latents(variables, [1], [3])


@pytest.mark.parametrize("labels", [[2], [[1, 7, 2]], [[1, 0.5, 2]], [[1, 2]]])
def test_captions_are_rows_of_known_tokens(labels):
    """A class was read as the tokens of its one-hot vector."""
    config = dataclasses.replace(CONFIG, label_size=3, text=TextEncoderConfig(vocabulary=7))
    z_1xKxD = np.zeros((1, config.num_latents, config.z_size), np.float32)
    with pytest.raises(ValueError, match="captions must be 1 rows of 3 tokens, whole numbers"):
        Synthesizer(config).map({}, z_1xKxD, labels)


def test_noise_of_single_images(variables):
    """The fixed noise given for each image makes the same images; other noise others."""
    synthesizer = Synthesizer(CONFIG, 2)
    found = synthesizer.latents(variables, SEEDS[:3], LABELS[:3])
    plain = synthesizer(variables, found).images
    maps = {name: np.asarray(noise) for name, noise in noise_maps(variables, 3).items()}
    assert {name: noise.shape[1:] for name, noise in maps.items()} == noise_shapes(CONFIG)
    same = synthesizer(variables, dataclasses.replace(found, noise_maps=maps)).images
    np.testing.assert_allclose(same.astype(int), plain, atol=1)
    other = {name: np.concatenate([-noise[:1], noise[1:]]) for name, noise in maps.items()}
    changed = synthesizer(variables, dataclasses.replace(found, noise_maps=other)).images
    assert (changed[0] != plain[0]).any()
    np.testing.assert_allclose(changed[1:].astype(int), plain[1:], atol=1)
