"""LPIPS against PyTorch's numbers, interpolation, and path lengths that are known."""

import dataclasses
import math
import types
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import random_variables, tiny_generator

from ganformer_jax import Generator
from ganformer_jax.evaluate import path_length
from ganformer_jax.evaluate.path_length import (
    STEP,
    along_z,
    lerp,
    path_length_of,
    perceptual_path_length,
    unit_slerp,
)
from ganformer_jax.metrics import lpips as lpips_module
from ganformer_jax.metrics.lpips import lpips, lpips_variables

# Of the images and weights below, by PyTorch 2.13's convolutions and poolings on a CPU.
EXPECTED = (0.0030346494168043137, 0.0028924227226525545, 0.0)


def random_array(name, shape, scale):
    rng = np.random.default_rng([0, zlib.crc32(name.encode())])
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def random_weights():
    """Weights by their PyTorch names, for the widths of `lpips.STAGES`."""
    made, channels, index = {}, 3, 0
    for stage, widths in enumerate(lpips_module.STAGES):
        for width in widths:
            name, scale = f"features.{index}", math.sqrt(2 / (9 * channels))
            shape = (width, channels, 3, 3)
            made[f"{name}.weight"] = random_array(f"{name}.weight", shape, scale)
            made[f"{name}.bias"] = random_array(f"{name}.bias", (width,), 0.1)
            channels, index = width, index + 2
        index += 1
        name = f"lin{stage}.model.1.weight"
        made[name] = np.abs(random_array(name, (1, channels, 1, 1), 1 / channels))
    return made


@pytest.fixture(scope="module")
def weights():
    return random_weights()


def test_lpips_is_pytorchs(weights, report_line):
    rng = np.random.default_rng(0)
    one = rng.uniform(-1, 1, (3, 3, 40, 33)).astype(np.float32)
    other = np.clip(one + 0.3 * rng.standard_normal(one.shape), -1, 1).astype(np.float32)
    other[2] = one[2]
    pair = [jnp.asarray(images.transpose(0, 2, 3, 1)) for images in (one, other)]
    found = np.asarray(lpips(lpips_variables(weights), *pair))
    np.testing.assert_allclose(found, EXPECTED, rtol=1e-4, atol=1e-9)
    report_line(f"LPIPS: relative error {np.max(np.abs(found[:2] / EXPECTED[:2] - 1)):.1e}")


def test_classifiers_of_vgg_are_passed_over(weights):
    lpips_variables({**weights, "classifier.0.weight": np.zeros((1, 1))})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lin4.model.1.weight": None}, "missing lin4.model.1.weight"),
        ({"more": np.zeros(1)}, "unknown more"),
        ({"features.0.bias": np.zeros(3)}, r"features.0.bias is \[3\]"),
        ({"features.0.bias": np.full(64, np.inf)}, "not finite"),
    ],
)
def test_other_weights_are_refused(weights, change, message):
    changed = {k: v for k, v in {**weights, **change}.items() if v is not None}
    with pytest.raises(ValueError, match=message):
        lpips_variables(changed)


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ((1, 32, 32, 3), (2, 32, 32, 3), "of one size"),
        ((1, 32, 32, 1), (1, 32, 32, 1), "three channels"),
        ((1, 15, 32, 3), (1, 15, 32, 3), "16x16"),
    ],
)
def test_invalid_images(weights, one, other, message):
    with pytest.raises(ValueError, match=message):
        lpips(lpips_variables(weights), jnp.zeros(one), jnp.zeros(other))


def test_great_circles():
    one, other = jnp.array([[3.0, 0.0]]), jnp.array([[0.0, 0.5]])
    half = unit_slerp(one, other, jnp.array([[0.5]]))
    np.testing.assert_allclose(half, [[math.sqrt(0.5)] * 2], rtol=1e-6)
    np.testing.assert_allclose(unit_slerp(one, other, jnp.zeros((1, 1))), [[1, 0]], atol=1e-7)
    np.testing.assert_allclose(unit_slerp(one, one, jnp.ones((1, 1))), [[1, 0]], atol=1e-7)
    np.testing.assert_allclose(lerp(one, other, jnp.array([[0.5]])), [[1.5, 0.25]])


def test_z_between_drawn_ones_is_as_long_as_they_are():
    one, other = jax.random.normal(jax.random.key(0), (2, 64, 256))
    lengths = [
        float(jnp.linalg.norm(z, axis=-1).mean())
        for z in (one, along_z(one, other, jnp.full((64, 1), 0.3)))
    ]
    assert lengths[1] == pytest.approx(lengths[0], rel=0.02)


def test_the_least_and_the_greatest_hundredth_are_left_out():
    distances = np.full(1000, STEP**2)
    distances[:5], distances[5:10] = 0, 1e6
    assert path_length_of(distances) == pytest.approx(1)
    assert path_length_of(np.array([4.0]), step=2) == 1
    for wrong in (np.array([]), np.array([np.nan]), np.ones((2, 2))):
        with pytest.raises(ValueError, match="distances"):
            path_length_of(wrong)


def test_paths_are_decided_by_their_numbers(monkeypatch):
    narrow = tuple((8,) * len(widths) for widths in lpips_module.STAGES)  # quick to compile and run
    monkeypatch.setattr(lpips_module, "STAGES", narrow)
    monkeypatch.setattr(path_length, "STEP", 0.01)  # far above float32's rounding
    network, variables = tiny_generator(16), lpips_variables(random_weights())

    def length(space, **options):
        found = perceptual_path_length(*network, variables, space=space, count=6, **options)
        assert found > 0 and math.isfinite(found)
        return found

    found = length("w", batch_size=3, sampling="full")
    assert found != length("w", batch_size=3, sampling="full", seed=1)
    assert found == pytest.approx(length("w", batch_size=4, sampling="full"), rel=1e-3)
    length("z", batch_size=3, sampling="end")


class Plain:
    """Stands for a generator: w is z, and an image has its numbers."""

    config = types.SimpleNamespace(num_latents=1, z_size=64, label_size=0)
    num_layers = 1

    def apply(self, variables, latents, labels=None, *, method, noise=None):
        return latents if method == "map" else (latents.reshape(-1, 8, 8, 1), {})


@pytest.mark.parametrize(
    ("space", "sampling", "start", "step"),
    [("w", "end", 1, 2), ("w", "full", 2 / 3, 2), ("z", "end", 1, math.pi**2 / 4)],
)
def test_where_steps_are_and_how_long(monkeypatch, space, sampling, start, step):
    """Mean squares of where steps begin and of the steps, relative to their length of t.

    Between normal numbers, a line is as long as their difference, and shorter vectors are in its
    middle; a great circle is a quarter of one, of radius 1.
    """

    def measured(of_images):
        monkeypatch.setattr(path_length, "lpips", lambda _, one, other: of_images(one, other))
        options = {"space": space, "sampling": sampling, "count": 600, "batch_size": 300}
        return perceptual_path_length(Plain(), {}, {}, **options)

    monkeypatch.setattr(path_length, "STEP", 0.01)
    found = measured(lambda one, other: jnp.square(one).mean((1, 2, 3)))
    assert found * STEP**2 == pytest.approx(start, rel=0.05)
    found = measured(lambda one, other: jnp.square(other - one).mean((1, 2, 3)))
    assert found * STEP**2 / 0.01**2 == pytest.approx(step, rel=0.05)


def test_conditions_of_paths_are_those_given(monkeypatch):
    narrow = tuple((8,) * len(widths) for widths in lpips_module.STAGES)
    monkeypatch.setattr(lpips_module, "STAGES", narrow)
    monkeypatch.setattr(path_length, "STEP", 0.01)
    config = dataclasses.replace(tiny_generator(16)[0].config, label_size=2)
    network, asked = Generator(config), []
    inputs = (
        np.zeros((1, config.num_latents, config.z_size), np.float32),
        np.eye(1, 2, dtype=np.float32),
    )
    variables = random_variables(lambda: network.init(jax.random.key(0), *inputs, noise="const"))
    of_lpips = lpips_variables(random_weights())

    def length(scale):
        def conditions(paths):
            asked.extend(paths)
            return np.array([[scale, path] for path in paths], np.float32)

        options = {"count": 6, "batch_size": 4, "conditions": conditions}
        return perceptual_path_length(network, variables, of_lpips, **options)

    found = length(1.0)
    assert asked == [0, 1, 2, 3, 4, 5, 4, 5]  # one size of batches, so some come twice
    assert found > 0 and length(1.0) == found != length(-1.0)


def test_invalid_options():
    for options in ({"space": "x"}, {"sampling": "x"}, {"count": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError):
            perceptual_path_length(*tiny_generator(16), {}, **options)
