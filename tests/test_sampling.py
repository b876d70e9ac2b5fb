"""Samples depend on their seeds only."""

import dataclasses

import jax
import numpy as np
import pytest
from tiny import tiny_config

from ganformer_jax import Generator
from ganformer_jax.sampling import ALL_LAYERS, Sampler

GENERATOR = dataclasses.replace(tiny_config().generator, label_size=3)
SEEDS, LABELS = [4, 0, 2**32 - 1, 7, 11], [0, 1, 2, 0, 1]


@pytest.fixture(scope="module")
def variables():
    z_1xKxD = np.zeros((1, GENERATOR.num_latents, GENERATOR.z_size), np.float32)
    streams = {"params": jax.random.key(3), "noise": jax.random.key(4)}
    found = jax.jit(Generator(GENERATOR).init)(streams, z_1xKxD, np.eye(1, 3, dtype=np.float32))

    def strengthen_noise(path, leaf):  # its strength starts at 0
        return leaf + 0.5 if "strength" in jax.tree_util.keystr(path) else leaf

    return jax.tree_util.tree_map_with_path(strengthen_noise, found)


def test_an_image_depends_on_its_seed_only(variables):
    five = Sampler(GENERATOR, 5, attention=True)(variables, SEEDS, LABELS, 0.7)
    pairs = Sampler(GENERATOR, 2, attention=True)(variables, SEEDS[::-1], LABELS[::-1], 0.7)
    for one, other in zip(jax.tree.leaves(five), jax.tree.leaves(pairs), strict=True):
        assert one.shape[0] == other.shape[0] == len(SEEDS)
        close = 1 if one.dtype == np.uint8 else 1e-5
        np.testing.assert_allclose(one.astype(float), other[::-1].astype(float), atol=close)
    images = Sampler(GENERATOR, 5, attention=True).images(variables, SEEDS, LABELS)
    same = Sampler(GENERATOR, 5, attention=True)(variables, SEEDS, LABELS).images
    np.testing.assert_array_equal(images, same)
    assert five.images.dtype == np.uint8 and five.attention[0].shape[1] == GENERATOR.components


def test_noise_depends_on_the_seed(variables):
    """With the mean latent for all, images differ by noise only, and repeat with their seed."""
    sampler = Sampler(GENERATOR, 4)
    images = sampler(variables, [0, 1, 0, 2], [0] * 4, truncation_psi=0.0).images.astype(int)
    assert np.abs(images[0] - images[2]).max() <= 1
    for other in (1, 3):
        assert np.abs(images[0] - images[other]).mean() > 1
    still = Sampler(GENERATOR, 4, noise="const")
    images = still(variables, [0, 1, 0, 2], [0] * 4, truncation_psi=0.0).images.astype(int)
    assert np.abs(images - images[0]).max() <= 1


@pytest.mark.parametrize(
    ("seeds", "labels", "complaint"),
    [
        ([], [], "no seeds"),
        ([1], None, "label_size is 3"),
        ([1], [3], "from 0 to 2"),
        ([1], [0, 1], "1"),
        ([1], [0.5], "1 whole numbers"),
        ([1], [[0.5, 1]], "1 rows of 3 finite"),
        ([1, 2], [[0.5, 1, 2]], "2 rows of 3 finite"),
        ([1], [[0.5, 1, np.nan]], "1 rows of 3 finite"),
    ],
)
def test_invalid_seeds_and_labels_are_refused(variables, seeds, labels, complaint):
    with pytest.raises(ValueError, match=complaint):
        Sampler(GENERATOR)(variables, seeds, labels)


def test_a_program_made_ahead_of_time_draws_the_same(variables):
    sampler = Sampler(GENERATOR, len(SEEDS))
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), variables)
    compiled = sampler.lower(shapes).compile()
    arguments = np.asarray(SEEDS, np.uint32), np.eye(3, dtype=np.float32)[LABELS]
    images = compiled(variables, *arguments, np.float32(1.0), np.int32(ALL_LAYERS))[0]
    np.testing.assert_array_equal(images, sampler.images(variables, SEEDS, LABELS))


def test_a_one_hot_condition_draws_the_image_of_its_class(variables):
    sampler = Sampler(GENERATOR, 5)
    images = sampler.images(variables, SEEDS, LABELS)
    one_hot = np.eye(3, dtype=np.float32)[LABELS]
    for conditions in (one_hot, one_hot.tolist(), list(one_hot)):
        np.testing.assert_array_equal(sampler.images(variables, SEEDS, conditions), images)
    between = sampler.images(variables, SEEDS, [[0.5, 0.5, -1.0]] * 5)
    assert all((between[i] != images[i]).any() for i in range(5))
