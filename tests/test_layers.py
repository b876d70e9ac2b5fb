"""Layers against naive loops, and positional encodings against their definition."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganformer_jax.nn import layers, positions, resample


@pytest.fixture(autouse=True)
def exact_matmuls():
    with jax.default_matmul_precision("highest"):
        yield


def random(shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("resampling", ["none", "up"])
def test_modulated_convolution_equals_scaling_each_images_weights(resampling):
    x, w = random((3, 6, 6, 4)), random((3, 5), 1)
    module = layers.ModulatedConvolution(7, 3, resampling=resampling)
    variables = module.init(jax.random.key(2), x, w)
    style = layers.EqualizedDense(4, bias_init=1.0).apply(
        {"params": variables["params"]["style"]}, w
    )
    kernel = variables["params"]["kernel"] / math.sqrt(9 * 4)
    expected = []
    for image, scale in zip(x, style, strict=True):
        own = kernel * scale[None, None, :, None]
        own = own / jnp.sqrt(jnp.square(own).sum((0, 1, 2)) + 1e-8)[None, None, None]
        if resampling == "up":
            expected.append(resample.upsample_convolve(image[None], own, (1, 3, 3, 1)))
        else:
            expected.append(resample.convolve(image[None], own))
    np.testing.assert_allclose(module.apply(variables, x, w), jnp.concatenate(expected), atol=1e-5)


def test_demodulation_cancels_the_scale_of_styles():
    x, w = random((2, 6, 6, 4)), jnp.zeros((2, 5))
    module = layers.ModulatedConvolution(7, 3)
    variables = module.init(jax.random.key(2), x, w)
    before = module.apply(variables, x, w)
    style = variables["params"]["style"]
    louder = {"params": variables["params"] | {"style": style | {"bias": 10.0 * style["bias"]}}}
    np.testing.assert_allclose(module.apply(louder, x, w), before, atol=1e-4)


def test_equalized_dense_scales_weights_and_learning_rate():
    module = layers.EqualizedDense(8, learning_rate_multiplier=0.01)
    x = random((1000, 64))
    variables = module.init(jax.random.key(1), x)
    assert 80 < float(variables["params"]["kernel"].std()) < 120
    assert 0.8 < float(module.apply(variables, x).std()) < 1.2


def test_minibatch_stddev_by_hand():
    x = random((8, 4, 4, 6))
    result = layers.minibatch_stddev(x, 4, channels=2)
    assert result.shape == (8, 4, 4, 8)
    np.testing.assert_array_equal(result[..., :6], x)
    group = np.asarray(x)[[1, 3, 5, 7]]  # Group 1 of 2 holds every second image from image 1.
    deviation = np.sqrt(group.var(0) + 1e-8)
    np.testing.assert_allclose(result[3, ..., 6], deviation[..., :3].mean(), rtol=1e-5)
    np.testing.assert_allclose(result[3, ..., 7], deviation[..., 3:].mean(), rtol=1e-5)


def test_minibatch_stddev_refuses_batches_that_groups_do_not_divide():
    with pytest.raises(ValueError, match=r"batch \(6\) that its group \(4\) divides"):
        layers.minibatch_stddev(jnp.zeros((6, 4, 4, 2)), 4)


def test_noise_modes():
    x = jnp.zeros((2, 4, 4, 3))
    module = layers.Noise()
    variables = module.init(jax.random.key(0), x, "const")
    loud = {"params": {"strength": jnp.asarray(2.0)}, "constants": variables["constants"]}
    fixed = module.apply(loud, x, "const")
    expected = 2.0 * variables["constants"]["noise"]
    np.testing.assert_allclose(fixed[1, ..., 2], expected)
    np.testing.assert_array_equal(module.apply(loud, x, "none"), x)
    drawn = module.apply(loud, x, "random", rngs={"noise": jax.random.key(1)})
    np.testing.assert_array_equal(drawn[..., 0], drawn[..., 1])
    assert not np.allclose(drawn[0], drawn[1])


def test_sinusoids_of_two_directions_are_laid_out_by_axis():
    size, width = 5, 8
    encoding = positions.sinusoidal(size, size, width)
    coordinate = np.linspace(-1, 1, size)
    for row in range(size):
        for column in range(size):
            x, y = coordinate[column], coordinate[row]
            waves = 10000.0 ** (4 * np.arange(2) / width)
            expected = [np.sin(x / waves), np.cos(x / waves), np.sin(y / waves), np.cos(y / waves)]
            np.testing.assert_allclose(encoding[row, column], np.concatenate(expected), atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "directions", "names"),
    [
        ("linear", 4, {"slopes"}),
        ("trainable", 2, {"rows", "columns"}),
        ("trainable2d", 2, {"cells"}),
    ],
)
def test_trained_positions(kind, directions, names):
    module = positions.GridPositions(4, 4, 8, kind, directions)
    variables = module.init(jax.random.key(0))
    assert set(variables["params"]) == names
    encoding = module.apply(variables).reshape(4, 4, 8)
    if kind == "linear":
        # Opposite corners lie opposite along every direction.
        np.testing.assert_allclose(encoding[0, 0], -encoding[3, 3], atol=1e-6)
        third = np.cos(math.pi / 4) * (1 + 1) * variables["params"]["slopes"][1]
        np.testing.assert_allclose(encoding[3, 3, 2:4], third, atol=1e-6)
    if kind == "trainable":
        np.testing.assert_array_equal(encoding[1, 2, :4], variables["params"]["columns"][2])
        np.testing.assert_array_equal(encoding[1, 2, 4:], variables["params"]["rows"][1])


def test_positions_refuse_widths_their_directions_do_not_divide():
    with pytest.raises(ValueError, match="width 10 need a multiple of 2 x 2 directions"):
        positions.sinusoidal(4, 4, 10)
