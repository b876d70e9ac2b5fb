"""Losses against closed forms, values worked out by hand, and finite gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganformer_jax import losses

REAL = jnp.asarray([[2.0], [-0.5]])
FAKE = jnp.asarray([[-3.0], [0.25]])


def softplus(x):
    return np.log1p(np.exp(np.asarray(x)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("non_saturating", softplus([3.0, -0.25])),
        ("logistic", -softplus([-3.0, 0.25])),
        ("hinge", [3.0, -0.25]),
        ("wgan", [3.0, -0.25]),
    ],
)
def test_generator_losses(name, expected):
    np.testing.assert_allclose(losses.GENERATOR_LOSSES[name](FAKE), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("logistic", softplus([-2.0, 0.5]) + softplus([-3.0, 0.25])),
        ("hinge", [0.0 + 0.0, 1.5 + 1.25]),
        ("wgan", [-3.0 - 2.0 + 0.001 * 4.0, 0.25 + 0.5 + 0.001 * 0.25]),
    ],
)
def test_discriminator_losses(name, expected):
    np.testing.assert_allclose(losses.DISCRIMINATOR_LOSSES[name](REAL, FAKE), expected, rtol=1e-6)


def test_wgan_epsilon_weighs_real_logits():
    loss = losses.wgan_discriminator(REAL, FAKE, 10.0)
    np.testing.assert_allclose(loss, [-5.0 + 40.0, 0.75 + 2.5], rtol=1e-6)


@pytest.mark.parametrize("name", losses.GENERATOR_LOSSES)
def test_generators_are_drawn_to_high_logits(name):
    gradient = jax.grad(lambda x: losses.GENERATOR_LOSSES[name](x).sum())(FAKE)
    assert (gradient < 0).all()


@pytest.mark.parametrize("name", losses.DISCRIMINATOR_LOSSES)
def test_discriminators_part_real_from_fake(name):
    loss = losses.DISCRIMINATOR_LOSSES[name]
    real, fake = jax.grad(lambda r, f: loss(r, f).sum(), (0, 1))(0.1 * REAL, 0.1 * FAKE)
    assert (real < 0).all() and (fake > 0).all()


@pytest.fixture(autouse=True)
def exact_products():
    """Of float32, which some devices round to fewer digits."""
    with jax.default_matmul_precision("highest"):
        yield


@pytest.mark.parametrize("name", ["non_saturating", "logistic"])
def test_extreme_logits_stay_finite(name):
    logits = jnp.asarray([[1e4], [-1e4]])
    value, gradient = jax.value_and_grad(lambda x: losses.GENERATOR_LOSSES[name](x).sum())(logits)
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_losses_are_float32_for_bfloat16_logits():
    assert losses.non_saturating_generator(FAKE.astype(jnp.bfloat16)).dtype == jnp.float32


def test_r1_of_a_linear_critic_is_its_squared_norm():
    weights = jax.random.normal(jax.random.key(0), (4, 4, 3))
    images = jax.random.normal(jax.random.key(1), (5, 4, 4, 3))

    def penalty(weights):
        return losses.r1_penalty(
            lambda x: jnp.einsum("bhwc,hwc->b", x, weights)[:, None] + 7.0, images
        )

    expected = float(jnp.square(weights).sum())
    np.testing.assert_allclose(penalty(weights), np.full(5, expected), rtol=1e-5)
    gradient = jax.grad(lambda w: penalty(w).mean())(weights)
    np.testing.assert_allclose(gradient, 2 * weights, rtol=1e-5)


def test_r1_is_per_image():
    images = jax.random.normal(jax.random.key(1), (3, 4, 4, 1))
    penalty = losses.r1_penalty(lambda x: 0.5 * jnp.square(x).sum((1, 2, 3))[:, None], images)
    np.testing.assert_allclose(penalty, jnp.square(images).sum((1, 2, 3)), rtol=1e-5)


def test_path_length_of_a_linear_synthesis():
    """J^T y of images = einsum(w, A) is einsum(y, A): sum over W, mean over K and L."""
    keys = jax.random.split(jax.random.key(2), 3)
    matrix = jax.random.normal(keys[0], (2, 3, 5, 4, 8, 3))  # K L W -> H W C
    w = jax.random.normal(keys[1], (6, 2, 3, 5))
    noise = jax.random.normal(keys[2], (6, 4, 8, 3))

    def lengths(matrix):
        return losses.path_length(lambda w: jnp.einsum("bkld,kldhwc->bhwc", w, matrix), w, noise)

    gradient = np.einsum("bhwc,kldhwc->bkld", noise, matrix) / np.sqrt(4 * 8)
    expected = np.sqrt(np.mean(np.sum(gradient**2, 3), (1, 2)))
    np.testing.assert_allclose(lengths(matrix), expected, rtol=1e-5)
    slope = jax.grad(lambda scale: lengths(scale * matrix).sum())(1.0)
    np.testing.assert_allclose(slope, expected.sum(), rtol=1e-5)  # homogeneous of degree one


def test_refuses_wrong_ranks_and_types():
    image = jnp.zeros((2, 4, 4, 3))
    with pytest.raises(ValueError, match="rank 2"):
        losses.hinge_generator(FAKE[:, 0])
    with pytest.raises(ValueError, match="one column"):
        losses.hinge_generator(jnp.zeros((2, 3)))
    with pytest.raises(TypeError, match="floating"):
        losses.hinge_generator(jnp.zeros((2, 1), jnp.int32))
    with pytest.raises(ValueError, match="2 real logits but 1 fake"):
        losses.hinge_discriminator(REAL, FAKE[:1])
    with pytest.raises(ValueError, match="rank 4"):
        losses.r1_penalty(lambda x: FAKE, image[0])
    with pytest.raises(TypeError, match="floating"):
        losses.r1_penalty(lambda x: FAKE, image.astype(jnp.uint8))
    with pytest.raises(ValueError, match="rank 2"):
        losses.r1_penalty(lambda x: x.sum((1, 2, 3)), image)
    with pytest.raises(ValueError, match="rank 4"):
        losses.path_length(lambda w: image, jnp.zeros((2, 3, 5)), image)
    with pytest.raises(ValueError, match="pixel noise"):
        losses.path_length(lambda w: image, jnp.zeros((2, 1, 3, 5)), image[:1])
