"""Filters and resampling convolutions against direct sums, and their gradients to second order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from ganformer_jax.nn import resample

TAPS = (1, 3, 3, 1)
OTHER_TAPS = (1, 2, 1)


@pytest.fixture(autouse=True)
def exact_matmuls():
    with jax.default_matmul_precision("highest"):
        yield


def random(shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def filtered(x, taps, gain, pad):
    """Direct 2-D filtering of zero-padded images, kept where the filter fits."""
    kernel = np.outer(taps, taps) / sum(taps) ** 2 * gain
    x = np.pad(np.asarray(x, np.float64), ((0, 0), pad, pad, (0, 0)))
    size = len(taps)
    height, width = x.shape[1] - size + 1, x.shape[2] - size + 1
    return sum(
        kernel[i, j] * x[:, i : i + height, j : j + width] for i in range(size) for j in range(size)
    )


def with_zeros_between(x):
    spread = np.zeros((x.shape[0], 2 * x.shape[1], 2 * x.shape[2], x.shape[3]))
    spread[:, ::2, ::2] = x
    return spread


@pytest.mark.parametrize("taps", [TAPS, OTHER_TAPS])
def test_upsample_filters_zeros_between_pixels(taps):
    x = random((2, 5, 6, 3))
    pad = ((len(taps) + 1) // 2, (len(taps) - 2) // 2)
    expected = filtered(with_zeros_between(x), taps, 4.0, pad)
    np.testing.assert_allclose(resample.upsample(x, taps), expected, atol=1e-5)


@pytest.mark.parametrize("taps", [TAPS, OTHER_TAPS])
def test_downsample_keeps_every_other_filtered_pixel(taps):
    x = random((2, 8, 6, 3))
    pad = ((len(taps) - 1) // 2, (len(taps) - 2) // 2)
    expected = filtered(x, taps, 1.0, pad)[:, ::2, ::2]
    np.testing.assert_allclose(resample.downsample(x, taps), expected, atol=1e-5)


def test_resampling_keeps_a_flat_image_flat():
    flat = jnp.ones((1, 16, 16, 1))
    inside = (slice(None), slice(2, -2), slice(2, -2))
    np.testing.assert_allclose(resample.upsample(flat, TAPS)[inside], 1.0, atol=1e-6)
    np.testing.assert_allclose(resample.downsample(flat, TAPS)[inside], 1.0, atol=1e-6)


@pytest.mark.parametrize("size", [1, 3])
def test_convolution_commutes_with_resampling_away_from_borders(size):
    x, kernel = random((1, 16, 16, 2)), random((size, size, 2, 3), 1)
    up = resample.upsample_convolve(x, kernel, TAPS)
    expected = resample.convolve(resample.upsample(x, TAPS), kernel[::-1, ::-1])
    np.testing.assert_allclose(up[:, 4:-4, 4:-4], expected[:, 4:-4, 4:-4], atol=1e-4)
    down = resample.convolve_downsample(x, kernel, TAPS)
    smooth = filtered(x, TAPS, 1.0, (1, 2))
    expected = resample.convolve(jnp.asarray(smooth, jnp.float32), kernel)[:, ::2, ::2]
    np.testing.assert_allclose(down[:, 2:-2, 2:-2], expected[:, 2:-2, 2:-2], atol=1e-4)


FORMS = {
    "transposed": (resample.transposed_by_matmul, resample.transposed_by_dilation, (2, 5, 4, 3)),
    "strided": (resample.strided_by_matmul, resample.strided_by_convolution, (2, 9, 7, 3)),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("size", [3, 5])
def test_both_forms_of_a_convolution_agree_to_second_derivatives(name, size):
    by_matmul, plain, shape = FORMS[name]
    x, kernel = random(shape), random((size, size, 3, 4), 1)

    def derivatives(form):
        def loss(x, kernel):
            return jnp.sum(jnp.sin(form(x, kernel)))

        def penalty(x, kernel):
            gradients = jax.grad(loss, (0, 1))(x, kernel)
            return sum(jnp.sum(jnp.square(gradient)) for gradient in gradients)

        return (
            form(x, kernel),
            jax.grad(loss, (0, 1))(x, kernel),
            jax.grad(penalty, (0, 1))(x, kernel),
        )

    ours, theirs = derivatives(by_matmul), derivatives(plain)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4 * float(jnp.abs(b).max()))


@pytest.mark.parametrize("operation", [resample.upsample, resample.downsample])
def test_filter_gradients_to_second_order(operation):
    x = random((1, 6, 4, 2))
    check_grads(lambda x: jnp.sin(operation(x, TAPS)), (x,), order=2, modes=["rev"], rtol=2e-2)


def test_filters_can_be_mapped_over_a_batch_of_batches():
    x = random((3, 2, 6, 4, 2))
    mapped = jax.vmap(lambda x: resample.upsample(x, TAPS))(x)
    np.testing.assert_allclose(mapped[1], resample.upsample(x[1], TAPS), atol=1e-6)
