"""Filters and resampling convolutions against direct sums, and every form against the plain one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from ganformer_jax.nn import cpu, resample

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


def derivatives(form, *arrays):
    """Values, gradients, and the gradients of the squared gradients, as R1 takes them."""
    which = tuple(range(len(arrays)))

    def loss(*arrays):
        return jnp.sum(jnp.sin(form(*arrays)))

    def penalty(*arrays):
        return sum(jnp.sum(jnp.square(g)) for g in jax.grad(loss, which)(*arrays))

    return jax.jit(
        lambda *arrays: (
            form(*arrays),
            jax.grad(loss, which)(*arrays),
            jax.grad(penalty, which)(*arrays),
        )
    )(*arrays)


def assert_equal_to_second_derivatives(form, other, *arrays):
    ours, theirs = derivatives(form, *arrays), derivatives(other, *arrays)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * float(jnp.abs(b).max()))


def by_platform(cpu_form, plain_form):
    return functools.partial(resample.by_platform, plain_form, cpu=cpu_form)


KERNEL_FORMS = {
    "transposed 3x3": (cpu.transposed_convolve, resample.plain_transposed_convolve, (3, 3, 3, 4)),
    "transposed 5x5": (cpu.transposed_convolve, resample.plain_transposed_convolve, (3, 5, 5, 4)),
    "strided 3x3": (cpu.strided_convolve, resample.plain_strided_convolve, (3, 3, 3, 4)),
    "strided 5x5": (cpu.strided_convolve, resample.plain_strided_convolve, (5, 5, 3, 4)),
}


@pytest.mark.parametrize("name", KERNEL_FORMS)
def test_forms_of_strided_convolutions_agree_to_second_derivatives(name):
    cpu_form, plain_form, kernel_shape = KERNEL_FORMS[name]
    x, kernel = random((2, 9, 7, 3)), random(kernel_shape, 1)
    chosen = by_platform(cpu_form, plain_form)
    assert_equal_to_second_derivatives(chosen, plain_form, x, kernel)


def test_derivatives_of_accelerators_forms_are_those_of_the_plain_convolution():
    """A CPU runs what accelerators do when the forms are exchanged."""
    x, kernel = random((2, 9, 7, 3)), random((3, 3, 3, 4), 1)
    plain_form = resample.plain_strided_convolve
    chosen = by_platform(plain_form, cpu.strided_convolve)
    assert_equal_to_second_derivatives(chosen, plain_form, x, kernel)


ODD_TAPS, EVEN_TAPS = (0.2, 0.5, 0.3), (0.25, 0.75, 0.75, 0.25)


@pytest.mark.parametrize(
    ("taps", "pad", "up", "down"),
    [
        (EVEN_TAPS, (2, 1), 2, 1),
        (EVEN_TAPS, (1, 1), 1, 2),
        (EVEN_TAPS, (2, 2), 1, 1),
        (ODD_TAPS, (2, 0), 2, 1),
        (ODD_TAPS, (1, 0), 1, 2),
        (ODD_TAPS, (0, 1), 1, 1),
    ],
)
def test_forms_of_the_filter_agree_to_second_derivatives(taps, pad, up, down):
    static = {"taps": taps, "pad": pad, "up": up, "down": down}
    plain = functools.partial(resample.plain_filter, **static)
    chosen = functools.partial(by_platform(cpu.shifted_filter, resample.plain_filter), **static)
    assert_equal_to_second_derivatives(chosen, plain, random((2, 5, 6, 3)))


@pytest.mark.parametrize(
    ("shape", "wide"), [((2, 8, 12, 3), 1), ((1, 2, 2, 4), 1), ((2, 8, 10, 3), cpu.WIDE)]
)
def test_winograd_equals_the_plain_convolution(shape, wide, monkeypatch):
    monkeypatch.setattr(cpu, "WIDE", wide)  # the kernel's gradient in tiles, or as a convolution
    x, kernel = random(shape), random((3, 3, shape[-1], 5), 1) / (9 * shape[-1]) ** 0.5
    chosen = by_platform(cpu.winograd_convolve, resample.plain_convolve)
    assert_equal_to_second_derivatives(chosen, resample.plain_convolve, x, kernel)


def test_winograd_is_as_accurate_as_the_plain_convolution():
    x, kernel = random((2, 16, 16, 64)), random((3, 3, 64, 64), 1) / 24
    with jax.enable_x64(True):
        exact = resample.plain_convolve(
            jnp.asarray(x, jnp.float64), jnp.asarray(kernel, jnp.float64)
        )
        exact = np.asarray(exact)

    def error(form):
        return np.sqrt(np.mean(np.square(np.asarray(form(x, kernel)) - exact)))

    assert error(cpu.winograd_convolve) < 1.5 * error(resample.plain_convolve)


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
def test_shape_and_type_decide_whether_winograd_is_used(shape, size, dtype, suits):
    x = jnp.ones(shape, dtype)
    kernel = jnp.ones((size, size, shape[-1], 32), dtype)
    assert cpu.suits_winograd(x, kernel) == suits
    np.testing.assert_allclose(
        resample.convolve(x, kernel), resample.plain_convolve(x, kernel), rtol=1e-6
    )


def test_forms_agree_in_bfloat16():
    x, kernel = random((2, 5, 7, 3)).astype(jnp.bfloat16), random((3, 3, 3, 4), 1)
    kernel = kernel.astype(jnp.bfloat16)
    for operation in (resample.upsample_convolve, resample.convolve_downsample):
        low = operation(x, kernel, TAPS)
        assert low.dtype == jnp.bfloat16
        high = operation(x.astype(jnp.float32), kernel.astype(jnp.float32), TAPS)
        np.testing.assert_allclose(low.astype(jnp.float32), high, atol=0.02 * abs(high).max())


@pytest.mark.parametrize("operation", [resample.upsample, resample.downsample])
def test_filter_gradients_to_second_order(operation):
    x = random((1, 6, 4, 2))
    check_grads(lambda x: jnp.sin(operation(x, TAPS)), (x,), order=2, modes=["rev"], rtol=2e-2)


@pytest.mark.parametrize(
    "operation",
    [
        lambda x, kernel: resample.upsample(x, TAPS),
        cpu.winograd_convolve,
        lambda x, kernel: resample.upsample_convolve(x, kernel, TAPS),
    ],
    ids=["upsample", "winograd_convolve", "upsample_convolve"],
)
def test_operations_can_be_mapped_over_a_batch_of_batches(operation):
    x, kernel = random((3, 2, 6, 4, 2)), random((3, 3, 2, 2), 1)
    mapped = jax.vmap(operation, (0, None))(x, kernel)
    np.testing.assert_allclose(mapped[1], operation(x[1], kernel), atol=1e-5)
