"""The 3x3 convolution of CPUs against the plain one: values, gradients, and theirs in turn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from ganformer_jax.nn import resample, winograd


@pytest.fixture(autouse=True)
def exact_matmuls():
    with jax.default_matmul_precision("highest"):
        yield


def plain(x, kernel):
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)


def derivatives(form, x, kernel):
    """Values, gradients, and the gradients of the squared gradients, as R1 takes them."""

    def loss(x, kernel):
        return jnp.sum(jnp.sin(form(x, kernel)))

    def penalty(x, kernel):
        gradients = jax.grad(loss, (0, 1))(x, kernel)
        return sum(jnp.sum(jnp.square(gradient)) for gradient in gradients)

    return form(x, kernel), jax.grad(loss, (0, 1))(x, kernel), jax.grad(penalty, (0, 1))(x, kernel)


def arrays(shape, outputs):
    x_key, kernel_key = jax.random.split(jax.random.key(0))
    kernel = jax.random.normal(kernel_key, (3, 3, shape[-1], outputs)) / (9 * shape[-1]) ** 0.5
    return jax.random.normal(x_key, shape), kernel


@pytest.mark.parametrize("wide", [1, winograd.WIDE])  # the kernel's gradient in either form
@pytest.mark.parametrize("shape", [(2, 8, 12, 3), (1, 2, 2, 4)])
def test_equals_the_plain_convolution_to_second_derivatives(shape, wide, monkeypatch):
    monkeypatch.setattr(winograd, "WIDE", wide)
    x, kernel = arrays(shape, 5)
    ours = jax.tree.leaves(derivatives(winograd.convolve, x, kernel))
    theirs = jax.tree.leaves(derivatives(plain, x, kernel))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * float(jnp.abs(b).max()))


def test_is_as_accurate_as_the_plain_convolution():
    x, kernel = arrays((2, 16, 16, 64), 64)
    with jax.enable_x64(True):
        exact = np.asarray(plain(jnp.asarray(x, jnp.float64), jnp.asarray(kernel, jnp.float64)))

    def error(form):
        return np.sqrt(np.mean(np.square(np.asarray(form(x, kernel)) - exact)))

    assert error(winograd.convolve) < 1.5 * error(plain)


@pytest.mark.parametrize(
    ("shape", "size", "dtype", "suits"),
    [
        ((2, 8, 8, 32), 3, jnp.float32, True),
        ((2, 8, 8, 31), 3, jnp.float32, False),
        ((2, 9, 8, 32), 3, jnp.float32, False),
        ((2, 4, 4, 32), 3, jnp.float32, False),
        ((2, 8, 8, 32), 1, jnp.float32, False),
        ((2, 8, 8, 32), 3, jnp.bfloat16, False),
    ],
)
def test_every_shape_and_type_finds_its_form(shape, size, dtype, suits):
    x = jnp.ones(shape, dtype)
    kernel = jnp.ones((size, size, shape[-1], 32), dtype)
    assert winograd.suits(x, kernel) == suits
    np.testing.assert_allclose(resample.convolve(x, kernel), plain(x, kernel))


def test_can_be_mapped_over_a_batch_of_batches():
    x, kernel = arrays((2, 8, 8, 3), 4)
    mapped = jax.vmap(winograd.convolve, (0, None))(jnp.stack([x, 2 * x]), kernel)
    np.testing.assert_allclose(mapped[1], winograd.convolve(2 * x, kernel), atol=1e-6)
