"""Losses against closed forms, values worked out by hand, and finite gradients."""

import typing

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ganformer_jax import losses
from ganformer_jax.config import LossConfig

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
        ("least_squares", [0.5 * 4.0**2, 0.5 * 0.75**2]),
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
        ("least_squares", [0.5 * 1.0 + 0.5 * 9.0, 0.5 * 2.25 + 0.5 * 0.0625]),
        ("relativistic", softplus([-3.0 - 2.0, 0.25 + 0.5])),
    ],
)
def test_discriminator_losses(name, expected):
    np.testing.assert_allclose(losses.DISCRIMINATOR_LOSSES[name](REAL, FAKE), expected, rtol=1e-6)


def test_a_relativistic_generator_compares_pairs():
    loss = losses.PAIRED_GENERATOR_LOSSES["relativistic"]
    np.testing.assert_allclose(loss(REAL, FAKE), softplus([2.0 + 3.0, -0.5 - 0.25]), rtol=1e-6)
    real, fake = jax.grad(lambda r, f: loss(r, f).sum(), (0, 1))(REAL, FAKE)
    np.testing.assert_allclose(fake, -real, rtol=1e-6)
    np.testing.assert_allclose(fake[:, 0], -1 / (1 + np.exp([-5.0, 0.75])), rtol=1e-5)
    other = loss(REAL[::-1], FAKE)
    np.testing.assert_allclose(other, softplus([-0.5 + 3.0, 2.0 - 0.25]), rtol=1e-6)


def test_logits_of_real_images_are_computed_only_for_pairs():
    def computed():
        raise AssertionError("not needed")

    for name in losses.GENERATOR_LOSSES:
        expected = losses.GENERATOR_LOSSES[name](FAKE)
        np.testing.assert_array_equal(losses.generator_loss(name, FAKE, computed), expected)
    paired = losses.generator_loss("relativistic", FAKE, lambda: REAL)
    np.testing.assert_array_equal(paired, losses.relativistic_generator(REAL, FAKE))
    with pytest.raises(ValueError, match="relativistic loss needs logits of real images"):
        losses.generator_loss("relativistic", FAKE)


def test_config_and_functions_have_the_same_names():
    options = typing.get_type_hints(LossConfig)
    generators = {*losses.GENERATOR_LOSSES, *losses.PAIRED_GENERATOR_LOSSES}
    assert set(typing.get_args(options["generator"])) == generators
    assert set(typing.get_args(options["discriminator"])) == set(losses.DISCRIMINATOR_LOSSES)


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
    middle = losses.DECISION_LOGITS.get(name, 0.0)
    gradient = jax.grad(lambda r, f: loss(r, f).sum(), (0, 1))
    real, fake = gradient(0.1 * REAL + middle, 0.1 * FAKE + middle)
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


def quadratic(weights, matrix):
    """A discriminator of 2x2 images x, w x + x A x, and its gradient by hand, in float64."""
    symmetric = matrix + matrix.T

    def discriminate(x):
        flat = x.reshape(len(x), -1)
        return (flat @ weights + jnp.einsum("bi,ij,bj->b", flat, matrix, flat))[:, None]

    return discriminate, lambda x: weights + x.reshape(len(x), -1) @ symmetric


def test_penalties_of_a_quadratic_critic():
    """Values in numpy float64, and gradients by finite differences of those."""
    random = np.random.default_rng(3)
    weights, matrix = random.normal(size=4), random.normal(size=(4, 4))
    real, fake = random.normal(size=(2, 5, 2, 2, 1))
    share = random.uniform(size=(5, 1, 1, 1))

    def penalized(weights):
        discriminate, _ = quadratic(weights, jnp.float32(matrix))
        images = (jnp.float32(real), jnp.float32(fake))
        between = losses.gradient_penalty(discriminate, *images, jnp.float32(share))
        return losses.r1_penalty(discriminate, images[1]), between

    def expected(weights):
        _, slope = quadratic(weights, matrix)
        norm = np.sqrt(np.square(slope(share * real + (1 - share) * fake)).sum(1))
        return np.square(slope(fake)).sum(1), np.square(norm - 1)

    for found, wanted in zip(penalized(jnp.float32(weights)), expected(weights), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=2e-5)
    for number in range(2):
        gradient = jax.grad(lambda w, n=number: penalized(w)[n].sum())(jnp.float32(weights))
        steps = 1e-6 * np.eye(4)
        slopes = [
            (expected(weights + d)[number].sum() - expected(weights - d)[number].sum()) / 2e-6
            for d in steps
        ]
        np.testing.assert_allclose(gradient, slopes, rtol=1e-4)


def test_the_gradient_penalty_of_a_constant_critic_is_finite():
    image = jnp.zeros((2, 4, 4, 3))

    def penalty(slope):
        share = jnp.zeros((2, 1, 1, 1))
        return losses.gradient_penalty(
            lambda x: slope * x.sum((1, 2, 3))[:, None], image, image, share
        )

    np.testing.assert_allclose(penalty(0.0), 1.0, rtol=1e-6)
    assert jax.grad(lambda slope: penalty(slope).sum())(0.0) == 0
    with pytest.raises(ValueError, match="real images .* generated"):
        losses.gradient_penalty(lambda x: FAKE, image, image[:1], jnp.zeros((2, 1, 1, 1)))


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


def test_the_contrastive_loss_is_a_cross_entropy_over_the_labels_of_a_batch():
    """arXiv 2101.04702, section 4.1; images of one label share their probability."""
    cosines = np.random.default_rng(0).uniform(-1, 1, (4, 4)).astype(np.float32)
    own = np.eye(4, dtype=bool)
    expected = optax.softmax_cross_entropy_with_integer_labels(cosines / 0.1, np.arange(4))
    np.testing.assert_allclose(losses.contrastive(cosines, own), expected, rtol=1e-5)
    own[0, 3] = own[3, 0] = True
    shared = losses.contrastive(cosines, own, 0.5)
    odds = np.exp(cosines / 0.5)
    np.testing.assert_allclose(shared[0], -np.log((odds[0, 0] + odds[0, 3]) / odds[0].sum()), 1e-5)
    assert (shared >= 0).all()
    gradients = jax.grad(lambda x: losses.contrastive(x, own).sum())(jnp.asarray(cosines))
    assert np.isfinite(gradients).all() and (np.sign(gradients) == np.where(own, -1, 1)).all()


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
