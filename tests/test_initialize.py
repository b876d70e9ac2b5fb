"""Initial weights: few draws, of the distribution that flax's own would have."""

from __future__ import annotations

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ganformer_jax.nn.initialize
from ganformer_jax.models import Discriminator, Generator
from ganformer_jax.nn.initialize import initialize
from ganformer_jax.train.state import create_state
from tests.tiny import FULL, tiny_config
from tests.training import sgd

CONFIG = tiny_config()
GENERATOR = Generator(CONFIG.generator)
DISCRIMINATOR = Discriminator(CONFIG.discriminator, CONFIG.generator.base_grid)
Z = jnp.zeros((1, CONFIG.generator.num_latents, CONFIG.generator.z_size))
IMAGES = jnp.zeros((1, *CONFIG.generator.image_size, 3))


@pytest.mark.parametrize(("module", "inputs"), [(GENERATOR, Z), (DISCRIMINATOR, IMAGES)])
def test_arrays_are_distributed_as_flax_draws_them(module, inputs):
    found = jax.jit(lambda key: initialize(module, key, inputs))(jax.random.key(0))
    usual = jax.jit(module.init)({"params": jax.random.key(0)}, inputs)
    chex.assert_trees_all_equal_shapes_and_dtypes(found, dict(usual))
    drawn = 0
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(usual), strict=True):
        if np.std(b) and not np.array_equal(a, b):
            drawn += 1
            error = 6 * np.std(b) / np.sqrt(a.size)  # six standard deviations of a mean
            assert abs(np.mean(a) - np.mean(b)) < 2 * error
            assert abs(np.std(a) - np.std(b)) < 2 * error
        else:
            np.testing.assert_array_equal(a, b)
    assert drawn > 5


def test_no_number_is_used_twice():
    params = jax.jit(lambda key: initialize(GENERATOR, key, Z))(jax.random.key(1))["params"]
    leaves = [np.asarray(leaf).ravel() for leaf in jax.tree.leaves(params) if np.std(leaf)]
    found = np.concatenate([leaf / leaf.max() for leaf in leaves])
    assert len(found) > 500
    assert len(np.unique(found)) == len(found) - len(leaves) + 1  # the largest of each is 1


def test_normal_numbers_of_a_small_network_are_drawn_once():
    text = jax.jit(lambda key: initialize(DISCRIMINATOR, key, IMAGES)).lower(jax.random.key(0))
    assert text.as_text().count("call @_normal(") == 1


def test_more_numbers_than_a_block_has(monkeypatch):
    monkeypatch.setattr(ganformer_jax.nn.initialize, "BLOCK", 100)
    module = DISCRIMINATOR.clone(rematerialize=True)
    params = jax.jit(lambda key: initialize(module, key, IMAGES))(jax.random.key(1))["params"]
    found = np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(params)])
    assert len(np.unique(found)) > 500
    assert 0.9 < np.std(found[found != 0]) < 1.1


def test_keys_decide():
    make = jax.jit(lambda key: initialize(DISCRIMINATOR, key, IMAGES))
    first, again, other = (jax.tree.leaves(make(jax.random.key(seed))) for seed in (1, 1, 2))
    chex.assert_trees_all_equal(first, again)
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_a_seed_keeps_its_initial_values():
    """Values are drawn in the order in which layers are created: another order gives other runs."""
    generator = dataclasses.replace(
        FULL.generator,
        components_attend_image=True,
        components_attend_components=True,
        mapping=dataclasses.replace(FULL.generator.mapping, self_attention=True),
        attention=dataclasses.replace(FULL.generator.attention, gate_image=True, gate_latents=True),
    )
    config = dataclasses.replace(FULL, generator=generator)
    state = jax.jit(lambda key: create_state(config, key, sgd()))(jax.random.key(0))
    for tree, expected in (
        (state.generator, 339759.0),
        (state.constants, 291.14395),
        (state.discriminator, 3174.5733),
    ):
        total = sum(i * jnp.abs(leaf).sum() for i, leaf in enumerate(jax.tree.leaves(tree)))
        assert float(total) == pytest.approx(expected, rel=1e-5)
