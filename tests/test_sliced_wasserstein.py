"""Sliced Wasserstein distance: closed forms, an independent derivation, and what it notices."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from ganformer_jax.metrics.sliced_wasserstein import (
    downsample,
    laplacian_pyramid,
    normalize_descriptors,
    patch_descriptors,
    sliced_distance,
    sliced_wasserstein,
    upsample,
    wasserstein_1d,
)

SMALL: dict[str, Any] = dict(descriptors_per_image=64, projections=64, batch_size=64)
KEY = jax.random.key(0)
pyramid = jax.jit(laplacian_pyramid, static_argnums=1)
distance_1d = jax.jit(wasserstein_1d)
distance = jax.jit(sliced_distance, static_argnames=("projections", "group"))


def textures(seed: int, count: int = 128, side: int = 32) -> np.ndarray:
    """Makes images of overlapping soft blobs: structure at several scales, little noise."""
    noise = np.random.default_rng(seed).normal(size=(count, side, side, 3))
    blobs = sum(scipy.ndimage.gaussian_filter(noise, (0, r, r, 0)) * 50 * r for r in (1, 2))
    return np.clip(128 + blobs, 0, 255).astype(np.uint8)


def swd(real: np.ndarray, fake: np.ndarray, **options) -> dict[str, float]:
    return sliced_wasserstein(real, fake, KEY, **{**SMALL, **options})


# Pyramid


@pytest.mark.parametrize(("side", "levels"), [(16, 1), (64, 3)])
def test_pyramid_gives_back_the_images(side, levels):
    images = jnp.asarray(textures(0, 3, side), jnp.float32)
    bands = pyramid(images, levels)
    assert [band.shape[1] for band in bands] == [side >> i for i in range(levels)]
    rebuilt = bands[-1]
    for band in bands[-2::-1]:
        rebuilt = jax.jit(upsample)(rebuilt) + band
    np.testing.assert_allclose(rebuilt, images, atol=1e-4)


def test_pyramid_filters_match_scipy():
    image = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
    blurred = scipy.ndimage.convolve(image, kernel, mode="mirror")
    spread = np.zeros((32, 32), np.float32)
    spread[::2, ::2] = image
    doubled = scipy.ndimage.convolve(spread, 4 * kernel, mode="mirror")
    images = jnp.asarray(image)[None, :, :, None]
    np.testing.assert_allclose(
        jax.jit(downsample)(images)[0, :, :, 0], blurred[::2, ::2], atol=1e-6
    )
    np.testing.assert_allclose(jax.jit(upsample)(images)[0, :, :, 0], doubled, atol=1e-6)


def test_detail_bands_of_a_constant_image_are_zero():
    *details, low = pyramid(jnp.full((3, 64, 64, 3), 77.0), 3)
    for detail in details:
        np.testing.assert_allclose(detail, 0, atol=1e-4)
    np.testing.assert_allclose(low, 77, atol=1e-4)


# Descriptors


def test_descriptors_are_patches_of_their_own_image_from_every_place():
    places = np.arange(2 * 16 * 16, dtype=np.float32).reshape(2, 16, 16, 1)
    patches = patch_descriptors(jnp.asarray(places), jax.random.split(KEY, 2), 2000)
    corners = np.asarray(patches[:, 0, 0, 0])
    assert np.all(corners[:2000] < 256) and np.all(corners[2000:] >= 256)
    expected = corners[:, None, None] + 16 * np.arange(7)[:, None] + np.arange(7)
    np.testing.assert_array_equal(patches[..., 0], expected)
    rows_and_columns = {(int(c) % 256 // 16, int(c) % 16) for c in corners}
    assert rows_and_columns == {(row, column) for row in range(10) for column in range(10)}


def test_normalized_descriptors_have_zero_mean_and_unit_deviation_per_channel():
    descriptors = 5 + 3 * jax.random.normal(KEY, (400, 7, 7, 3)) * jnp.array([[[[1.0, 2, 3]]]])
    flat = normalize_descriptors(descriptors, descriptors)
    channels = np.asarray(flat).reshape(-1, 3)
    np.testing.assert_allclose(channels.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(channels.std(0), 1, atol=1e-4)


# Distance


def test_shifted_numbers_are_as_far_apart_as_the_shift():
    numbers = jax.random.normal(KEY, (3000,))
    assert distance_1d(numbers, numbers) == 0
    np.testing.assert_allclose(distance_1d(numbers, numbers + 0.25), 0.25, rtol=1e-3)
    np.testing.assert_allclose(distance_1d(numbers, numbers - 3), 3, rtol=1e-3)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_1d_distance_matches_scipy(scale):
    rng = np.random.default_rng(0)
    real = (scale * rng.normal(size=3000)).astype(np.float32)
    fake = (scale * rng.laplace(0.02, 0.8, size=3000)).astype(np.float32)
    exact = scipy.stats.wasserstein_distance(real, fake)
    np.testing.assert_allclose(distance_1d(jnp.array(real), jnp.array(fake)), exact, rtol=2e-3)


def test_1d_distance_of_equal_constants_is_zero():
    assert distance_1d(jnp.ones(3000), jnp.ones(3000)) == 0


def test_sliced_distance_matches_an_exact_derivation():
    """Recomputes the mean over the very same directions with scipy's exact distance."""
    rng = np.random.default_rng(0)
    real = rng.normal(size=(2000, 9)).astype(np.float32)
    fake = rng.uniform(-2, 2, size=(2000, 9)).astype(np.float32)
    directions = np.array(jax.random.normal(KEY, (32, 9)))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    exact = [scipy.stats.wasserstein_distance(real @ d, fake @ d) for d in directions]
    arrays = jnp.asarray(real), jnp.asarray(fake)
    for group in (8, 32):
        found = distance(*arrays, KEY, projections=32, group=group)
        np.testing.assert_allclose(found, np.mean(exact), rtol=1e-3)


def test_sliced_distance_ignores_the_order_of_descriptors():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(2, 2000, 9)).astype(np.float32)
    fake = 1.3 * fake
    found = distance(real, fake, KEY, projections=32, group=32)
    shuffled = distance(real, fake[rng.permutation(2000)], KEY, projections=32, group=32)
    np.testing.assert_allclose(shuffled, found)


def test_sliced_distance_of_a_shift_is_its_mean_projection():
    """For a shift by v the distance is E|<v, u>| = |v| sqrt(2 / (pi d)) (1 + O(1 / d))."""
    dim, shift = 100, 2.0
    real = np.random.default_rng(0).normal(size=(100, dim)).astype(np.float32)
    fake = real.copy()
    fake[:, 0] += shift
    found = distance(real, fake, KEY, projections=4096)
    np.testing.assert_allclose(found, shift * np.sqrt(2 / (np.pi * dim)), rtol=0.03)


# Images


def test_identical_sets_are_at_zero_and_levels_are_named():
    images = textures(0, 16, 64)
    assert swd(images, images) == {"swd_64": 0, "swd_32": 0, "swd_16": 0, "swd": 0}


def test_result_does_not_depend_on_the_batch_size_and_is_repeatable():
    real, fake = textures(0), textures(1)
    first = swd(real, fake)
    assert swd(real, fake) == first
    assert swd(real, fake, batch_size=48) == pytest.approx(first, rel=1e-5)
    assert sliced_wasserstein(real, fake, jax.random.key(1), **SMALL) != first
    assert first["swd"] == pytest.approx((first["swd_32"] + first["swd_16"]) / 2)


def test_order_of_images_hardly_matters():
    real = textures(0)
    floor = swd(real, textures(1))["swd"]
    assert swd(real, real[::-1].copy())["swd"] < 1.2 * floor


def test_result_matches_a_plain_derivation():
    """Follows section 5 of the paper in numpy and scipy, with places and directions shared."""
    real, fake = textures(0, 20, 16), textures(1, 20, 16) // 2 + 40
    found = sliced_wasserstein(real, fake, KEY, descriptors_per_image=30, projections=16)
    place_key, direction_key = jax.random.split(jax.random.fold_in(KEY, 0))

    def describe(images: np.ndarray) -> np.ndarray:
        patches = []
        for i, image in enumerate(images):
            corners = jax.random.randint(jax.random.fold_in(place_key, i), (30, 2), 0, 10)
            patches += [image[y : y + 7, x : x + 7] for y, x in np.asarray(corners)]
        patches = np.stack(patches).astype(np.float64)
        patches -= patches.mean((0, 1, 2))
        return (patches / patches.std((0, 1, 2))).reshape(len(patches), -1)

    a, b = describe(real), describe(fake)
    directions = np.asarray(jax.random.normal(direction_key, (16, 147)), np.float64)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    exact = np.mean([scipy.stats.wasserstein_distance(a @ d, b @ d) for d in directions])
    assert found["swd_16"] == pytest.approx(1000 * exact, rel=2e-3)


def blurred(images: np.ndarray) -> np.ndarray:
    return scipy.ndimage.uniform_filter(images, 5, axes=(1, 2))


def noisy(images: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(9).normal(size=images.shape)
    return np.clip(images + 25 * noise, 0, 255).astype(np.uint8)


def swapped_channels(images: np.ndarray) -> np.ndarray:
    """Makes two color channels equal: the relation between colors is lost."""
    return images[..., [0, 0, 2]]


def collapsed(images: np.ndarray) -> np.ndarray:
    return np.repeat(images[:1], len(images), axis=0)


@pytest.mark.parametrize(
    ("damage", "level"),
    [(blurred, "swd_32"), (noisy, "swd_32"), (swapped_channels, "swd"), (collapsed, "swd")],
)
def test_damage_is_farther_than_another_sample(damage, level):
    real, other = textures(0), textures(1)
    assert swd(real, damage(other))[level] > 2 * swd(real, other)[level]


def test_more_noise_is_farther():
    real, other = textures(0), textures(1)
    once = noisy(other)
    assert swd(real, other)["swd_32"] < swd(real, once)["swd_32"]
    assert swd(real, once)["swd_32"] < swd(real, noisy(noisy(once)))["swd_32"]


def test_blur_shows_most_on_the_fine_level():
    real, other = textures(0), textures(1)
    before, after = swd(real, other), swd(real, blurred(other))
    assert after["swd_32"] - before["swd_32"] > 2 * (after["swd_16"] - before["swd_16"])


def test_a_shared_tint_shows_only_when_the_real_set_normalizes_both():
    real, other = textures(0), textures(1)
    tinted = np.clip(other * np.array([1, 1, 0.6]) + np.array([0, 0, 70]), 0, 255).astype(np.uint8)
    floor = swd(real, other)["swd"]
    assert swd(real, tinted)["swd"] < 2 * floor
    assert swd(real, tinted, normalize_by="real")["swd"] > 4 * floor


def test_constant_images_give_a_finite_distance():
    flat = np.full((128, 32, 32, 3), 90, np.uint8)
    assert np.isfinite(swd(textures(0), flat)["swd"])
    assert swd(flat, flat + 9)["swd"] < 1


@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (textures(0, 4), textures(0, 3), "equally many real and fake"),
        (textures(0, 4).astype(np.float32), textures(0, 4), "must be uint8"),
        (textures(0, 4)[0], textures(0, 4)[0], "must be uint8"),
        (textures(0, 4, 33), textures(0, 4, 33), "halve evenly"),
        (textures(0, 4)[:, :12], textures(0, 4)[:, :12], "at least 16 pixels"),
        (textures(0, 4, 8), textures(0, 4, 8), "at least 16 pixels"),
    ],
)
def test_wrong_sets_raise(real, fake, message):
    with pytest.raises(ValueError, match=message):
        swd(real, fake)


@pytest.mark.parametrize(
    "options", [{"projections": 100}, {"descriptors_per_image": 0}, {"normalize_by": "fake"}]
)
def test_wrong_options_raise(options):
    with pytest.raises(ValueError, match="must be"):
        swd(textures(0, 4), textures(1, 4), **options)


@pytest.mark.slow
def test_two_thousand_small_images_take_seconds():
    import time

    real, fake = textures(0, 2000), textures(1, 2000)
    sliced_wasserstein(real, fake, KEY)
    start = time.perf_counter()
    sliced_wasserstein(real, fake, KEY)
    assert time.perf_counter() - start < 20
