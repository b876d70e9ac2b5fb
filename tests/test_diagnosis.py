"""The first layer that is not finite, by its name."""

import functools

import jax
import jax.numpy as jnp
import pytest
from tiny import random_batch, tiny_config
from training import gan_programs

from ganformer_jax.train.checkpoints.checksums import by_path
from ganformer_jax.train.diagnosis import first_non_finite
from ganformer_jax.train.networks import Networks

CONFIG = tiny_config()


@pytest.fixture(scope="module")
def state():
    return gan_programs(CONFIG).init(jax.random.key(0))


def spoiled(state, network, path, change):
    """A state in which one parameter has changed."""
    params = getattr(state, network)
    paths, structure = by_path(params), jax.tree.structure(params)
    assert path in paths
    leaves = [change(leaf) if name == path else leaf for name, leaf in paths.items()]
    return state.replace(**{network: jax.tree.unflatten(structure, leaves)})


@functools.cache
def batch():
    return {"images": jnp.asarray(random_batch(0)["images"])}


def test_weights_come_first(state):
    path = "synthesis.block_8.layer_0.bias"
    bad = spoiled(state, "generator", path, lambda leaf: leaf.at[1].set(jnp.nan))
    assert first_non_finite(Networks(CONFIG), bad, batch()) == f"weight generator/{slashes(path)}"


@pytest.mark.parametrize(
    ("network", "path", "layer"),
    [
        ("generator", "synthesis.block_8.layer_0.bias", "synthesis/block_8/layer_0"),
        ("discriminator", "convolution.kernel", "convolution"),
    ],
)
def test_outputs_that_overflow(state, network, path, layer):
    bad = spoiled(state, network, path, lambda leaf: jnp.full_like(leaf, 3e38))
    assert first_non_finite(Networks(CONFIG), bad, batch()) == f"output of {network}/{layer}"


def test_nothing_is_wrong(state):
    assert first_non_finite(Networks(CONFIG), state, batch()) == ""


def slashes(path):
    return path.replace(".", "/")
