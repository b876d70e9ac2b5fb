"""Spectral normalization: against numpy's singular values, and against Flax's own layer."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganformer_jax.nn.spectral import SpectralConvolution, SpectralDense

IMAGES = jax.random.normal(jax.random.key(1), (2, 6, 6, 5))
LAYERS = [
    (SpectralDense(7), nn.Dense(7), IMAGES[:, 0, 0]),
    (SpectralConvolution(7, 3), nn.Conv(7, (3, 3)), IMAGES),
]


def variables_of(layer, x):
    return layer.init(jax.random.key(0), x, True)


@pytest.mark.parametrize(("layer", "plain", "x"), LAYERS)
def test_training_brings_the_largest_singular_value_to_one(layer, plain, x):
    variables = variables_of(layer, x)
    call = jax.jit(lambda v: layer.apply(v, x, True, mutable=["batch_stats"])[1])
    for _ in range(200):
        variables |= call(variables)
    kernel = np.asarray(variables["params"]["kernel"])
    largest = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]))[1][0]
    normalized = {"params": {"kernel": kernel / largest, "bias": jnp.zeros(7)}}
    np.testing.assert_allclose(
        layer.apply(variables, x, False), plain.apply(normalized, x), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize(("layer", "plain", "x"), LAYERS)
def test_values_gradients_and_vectors_are_those_of_flax(layer, plain, x):
    variables, theirs = variables_of(layer, x), nn.SpectralNorm(plain)
    shapes = jax.eval_shape(lambda: theirs.init(jax.random.key(0), x, update_stats=False))
    (scope,) = shapes["params"]
    vector = variables["batch_stats"]["u"][None]
    stats = jax.tree.map(lambda leaf: vector if leaf.ndim else jnp.ones(()), shapes["batch_stats"])

    def own(params):
        y, changed = layer.apply({**variables, "params": params}, x, True, mutable=["batch_stats"])
        return jnp.sum(jnp.sin(y)), (y, changed["batch_stats"]["u"])

    def flax(params):
        given = {"params": {scope: params}, "batch_stats": stats}
        y, changed = theirs.apply(given, x, update_stats=True, mutable=["batch_stats"])
        moved = [leaf[0] for leaf in jax.tree.leaves(changed["batch_stats"]) if leaf.ndim]
        return jnp.sum(jnp.sin(y)), (y, *moved)

    found, expected = (
        jax.jit(jax.value_and_grad(function, has_aux=True))(variables["params"])
        for function in (own, flax)
    )
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_sampling_keeps_the_vector():
    layer, x = LAYERS[0][0], LAYERS[0][2]
    variables = variables_of(layer, x)
    _, changed = layer.apply(variables, x, False, mutable=["batch_stats"])
    np.testing.assert_array_equal(changed["batch_stats"]["u"], variables["batch_stats"]["u"])
