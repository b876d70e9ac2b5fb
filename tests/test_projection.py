"""Projection: distances, noise, and latents that make the images they were found for."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from baselines import baseline_config
from exports import initial_variables
from tiny import tiny_config

from ganformer_jax import Generator
from ganformer_jax.config.attention import MergeConfig
from ganformer_jax.models.noise_maps import noise_maps, with_noise_maps
from ganformer_jax.projection import (
    ProjectionOptions,
    laplacian_distance,
    latent_statistics,
    project,
)
from ganformer_jax.projection.noise_prior import correlation, normalized
from ganformer_jax.sampling import Synthesizer

CONFIG = dataclasses.replace(tiny_config(2).generator, label_size=3)
ONE_HOT = np.array([0, 1, 0], np.float32)


@pytest.fixture(scope="module")
def variables():
    return initial_variables(CONFIG)


# Distances and noise


@pytest.mark.parametrize("shape", [(8, 8, 3), (16, 32, 1), (5, 7, 4), (12, 12, 3), (3, 3, 2)])
def test_equal_differences_count_once(shape):
    """A constant has no details, so that only the coarsest level sees it."""
    one = np.random.default_rng(0).uniform(-1, 1, (2, *shape)).astype(np.float32)
    np.testing.assert_array_equal(laplacian_distance(one, one), 0)
    np.testing.assert_allclose(laplacian_distance(one, one + 0.25), 0.25, rtol=1e-5)
    other = one[::-1]
    np.testing.assert_allclose(
        laplacian_distance(one, other), laplacian_distance(other, one), rtol=1e-6
    )


def test_details_of_every_scale_count():
    """The mean absolute value of each level, written out for one halving."""
    difference = np.random.default_rng(1).standard_normal((1, 8, 8, 1)).astype(np.float32)
    half = difference.reshape(1, 4, 2, 4, 2, 1).mean((2, 4))
    detail = difference - np.asarray(jax.image.resize(half, difference.shape, "bilinear"))
    expected = np.abs(detail).mean() + np.abs(half).mean()
    found = laplacian_distance(difference, jnp.zeros_like(difference))
    np.testing.assert_allclose(found, [expected], rtol=1e-5)


def test_noise_that_looks_like_an_image_is_penalized():
    random = np.random.default_rng(0)
    white = random.standard_normal((2, 32, 32)).astype(np.float32)
    smooth = np.broadcast_to(np.sin(np.arange(32) * np.pi / 16)[:, None], (2, 32, 32)) * 1.4
    low, high = correlation({"a/noise/noise": white}), correlation({"a/noise/noise": smooth})
    assert (low < 0.1).all() and (high > 2).all()
    two = correlation({"a": white, "b": smooth})
    np.testing.assert_allclose(two, low + high, rtol=1e-5)
    for noise in normalized({"a": 3 * white + 1}).values():
        np.testing.assert_allclose(noise.mean((1, 2)), 0, atol=1e-5)
        np.testing.assert_allclose(noise.std((1, 2)), 1, atol=1e-5)


def test_neighbors_of_noise_are_compared_along_both_axes():
    noise = np.zeros((1, 4, 4), np.float32)
    noise[0, 0, 0], noise[0, 0, 1] = 1, 2  # 1 * 2 along rows, nothing along columns
    np.testing.assert_allclose(correlation({"a": noise}), [(2 / 16) ** 2], rtol=1e-6)


def test_noise_is_compared_at_every_scale_down_to_8_pixels():
    """The mean of four pixels is brought back to unit variance, written out for one halving."""
    noise = np.random.default_rng(2).standard_normal((1, 16, 16)).astype(np.float32)
    half = 2 * noise.reshape(1, 8, 2, 8, 2).mean((2, 4))
    expected = sum(
        ((each * np.roll(each, 1, axis)).mean((1, 2))) ** 2
        for each in (noise, half)
        for axis in (1, 2)
    )
    np.testing.assert_allclose(correlation({"a": noise}), expected, rtol=1e-4)


@pytest.mark.parametrize("kind", ["k-GAN", "dcgan", "no noise"])
def test_any_noise_is_searched(kind):
    """Of a k-GAN that of every image; of others there may be none."""
    config = dataclasses.replace(tiny_config(0).generator, merge=MergeConfig(images=2))
    if kind == "dcgan":
        config = baseline_config("dcgan", labels=False).generator
    if kind == "no noise":
        config = tiny_config(0).generator
        silent = dataclasses.replace(config.synthesis, noise=False)
        config = dataclasses.replace(config, synthesis=silent)
    variables = initial_variables(config)
    maps = normalized(noise_maps(variables, 3))
    assert bool(maps) == (kind == "k-GAN")
    if not maps:
        assert with_noise_maps(variables, maps) == variables
        return
    found = correlation(maps)
    assert found.shape == (3,) and bool(jnp.isfinite(found).all())
    several = {name: noise for name, noise in maps.items() if noise.ndim == 4}
    assert several
    own = {f"{name} {k}": noise[:, k] for name, noise in several.items() for k in range(2)}
    np.testing.assert_allclose(correlation(several), correlation(own), rtol=1e-5)


# Search


def test_it_starts_at_the_mean_of_each_component(variables):
    found = latent_statistics(CONFIG, variables, ONE_HOT, 700)
    synthesizer = Synthesizer(CONFIG, 100)
    w_MxKxD = synthesizer.map(variables, synthesizer.z(range(700)), [1] * 700)[:, :, 0]
    np.testing.assert_allclose(found.mean_KxD, w_MxKxD.mean(0), atol=1e-4)
    spread_K = np.sqrt(w_MxKxD.var(0).mean(-1))
    np.testing.assert_allclose(found.deviation_K, spread_K, rtol=1e-4)


def test_other_images_than_the_generators_are_refused(variables):
    statistics = latent_statistics(CONFIG, variables, ONE_HOT, 100)
    for shape, dtype, error in (((8, 8, 3), np.uint8, TypeError), ((8, 4, 3), float, ValueError)):
        with pytest.raises(error, match="images"):
            next(
                project(
                    *(CONFIG, variables, np.zeros((1, *shape), dtype), laplacian_distance),
                    statistics,
                )
            )


def test_a_second_search_compiles_nothing(variables, caplog):
    images, options = targets(variables), {"steps": 2, "noise_weight": 7.0}
    for words_wanted in (True, False):
        caplog.clear()
        with jax.log_compiles():
            search(variables, images, **options)
        assert ("jit(update)" in caplog.text) == words_wanted


def targets(variables):
    """Images of the generator itself."""
    latents = Synthesizer(CONFIG, 3).latents(variables, [3, 8, 5], [1, 1, 1])
    synthesize = functools.partial(Generator(CONFIG).apply, noise="const", method="synthesize")
    return np.asarray(jax.jit(synthesize)(variables, latents.w_BxKxLxD)[0])


def search(variables, images, first=0, **options):
    statistics = latent_statistics(CONFIG, variables, ONE_HOT, 100)
    chosen = ProjectionOptions(**{"steps": 60, **options})
    return list(project(CONFIG, variables, images, laplacian_distance, statistics, chosen, first))


@pytest.mark.parametrize("options", [{}, {"per_layer": True}, {"noise": True}])
def test_images_of_the_generator_are_found(variables, options):
    images = targets(variables)
    states = search(variables, images, **options)
    assert [state.step for state in states] == list(range(1, 61))
    first, last = states[0].distance_B, states[-1].distance_B
    assert (last < 0.5 * first).all(), (first, last)
    w_BxKxLxD = states[-1].w_BxKxLxD
    layers = w_BxKxLxD.shape[2]
    same = np.ptp(w_BxKxLxD, axis=2).max() == 0
    assert same != options.get("per_layer", False) and layers > 1
    assert bool(states[-1].noise_maps) == options.get("noise", False)
    for noise in states[-1].noise_maps.values():
        np.testing.assert_allclose(noise.std((1, 2)), 1, atol=1e-3)


def test_an_image_is_found_alone_as_among_others(variables):
    images = targets(variables)
    together = search(variables, images, steps=20)[-1]
    alone = search(variables, images[1:2], first=1, steps=20)[-1]
    np.testing.assert_allclose(together.w_BxKxLxD[1:2], alone.w_BxKxLxD, atol=1e-3)
    other = search(variables, images[1:2], first=2, steps=20)[-1]
    assert np.abs(other.w_BxKxLxD - alone.w_BxKxLxD).max() > 1e-3  # explores elsewhere


def test_it_starts_at_given_latents(variables):
    images = targets(variables)
    latents = Synthesizer(CONFIG, 3).latents(variables, [3, 8, 5], [1, 1, 1]).w_BxKxLxD
    statistics = latent_statistics(CONFIG, variables, ONE_HOT, 100)
    for per_layer in (False, True):
        options = ProjectionOptions(steps=1, learning_rate=1e-9, per_layer=per_layer, exploration=0)
        found = project(
            CONFIG, variables, images, laplacian_distance, statistics, options, 0, latents[:, :, 0]
        )
        state = next(found)
        np.testing.assert_allclose(state.w_BxKxLxD, latents, atol=1e-4)
        np.testing.assert_allclose(state.distance_B, 0, atol=1e-3)


def test_a_label_in_w_stays_and_does_not_count_as_spread():
    """A DCGAN has the class behind z in w."""
    config = baseline_config("dcgan").generator
    generator = Generator(config)
    z, label = np.zeros((1, 1, config.z_size), np.float32), np.eye(3, dtype=np.float32)[1]
    variables = jax.jit(generator.init)(jax.random.key(0), z, label[None])
    statistics = latent_statistics(config, variables, label, count=500)
    # z is uniform from -1 to 1.
    np.testing.assert_allclose(statistics.deviation_K, 3**-0.5, atol=0.03)
    target = np.zeros((1, *config.image_size, config.image_channels), np.float32)
    options = ProjectionOptions(steps=3)
    *_, last = project(config, variables, target, laplacian_distance, statistics, options)
    assert np.abs(last.w_BxKxLxD[..., : config.z_size]).min() > 0
    np.testing.assert_array_equal(last.w_BxKxLxD[0, 0, 0, config.z_size :], label)


def test_without_exploration_the_first_distance_is_that_of_the_mean(variables):
    images = targets(variables)
    statistics = latent_statistics(CONFIG, variables, ONE_HOT, 100)
    state = search(variables, images, steps=1, exploration=0.0)[0]
    network = Generator(CONFIG)
    w_1xKxLxD = np.repeat(statistics.mean_KxD[None, :, None], network.num_layers, 2)
    mean, _ = network.apply(variables, w_1xKxLxD, noise="const", method="synthesize")
    expected = laplacian_distance(jnp.broadcast_to(mean, images.shape), images)
    np.testing.assert_allclose(state.distance_B, expected, rtol=1e-4)
