"""Networks of a translation against PyTorch's layers, and the pool of past images."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import random_variables

from ganformer_jax.config.patches import PatchConfig
from ganformer_jax.config.translation import TranslatorConfig
from ganformer_jax.models.patch_discriminator import PatchDiscriminator
from ganformer_jax.models.translator import Translator
from ganformer_jax.train.kinds.image_pool import exchange

DATA = pathlib.Path(__file__).parent / "data"
SMALL = TranslatorConfig(image_size=(16, 24), width=4, blocks=2)
LAYERS = ("from_image", "down_0", "down_1", "block_0_0", "block_0_1", "block_1_0", "block_1_1")
LAYERS += ("up_0", "up_1", "to_image")


@pytest.fixture(scope="module")
def reference():
    with np.load(DATA / "cyclegan.npz") as file:
        return dict(file)


def weights(reference, network, names):
    """Weights by the names of our layers."""
    arrays = {
        name: {kind: reference[f"{network}/{number}/{kind}"] for kind in ("kernel", "bias")}
        for number, name in enumerate(names)
    }
    assert len(names) * 2 == sum(key.startswith(f"{network}/") for key in reference)
    return {"params": arrays}


def test_the_generator_is_that_of_cyclegan(reference):
    variables = weights(reference, "generator", LAYERS)
    with jax.default_matmul_precision("highest"):
        images, out = Translator(SMALL).apply(variables, reference["images"])
    np.testing.assert_allclose(images, reference["generator"], atol=2e-5)
    assert out["attention"] == ()


def test_the_discriminator_is_that_of_cyclegan(reference):
    names = ("convolution_0", "convolution_1", "convolution_2", "output")
    variables = weights(reference, "discriminator", names)
    with jax.default_matmul_precision("highest"):
        logits = PatchDiscriminator(PatchConfig(width=4, layers=2)).apply(
            variables, reference["images"]
        )
    np.testing.assert_allclose(logits, reference["discriminator"], atol=1e-4)


@pytest.mark.parametrize(("layers", "patch"), [(1, 16), (2, 34), (3, 70)])
def test_a_logit_sees_a_patch_of_the_published_size(layers, patch):
    # Instance normalization sees the whole image: gradients without it are what a patch is.
    network = PatchDiscriminator(PatchConfig(width=1, layers=layers))
    images = jnp.zeros((1, 96, 96, 1))
    variables = random_variables(lambda: network.init(jax.random.key(0), images))
    ones = jax.tree.map(jnp.ones_like, variables)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("ganformer_jax.models.patch_discriminator.instance_norm", lambda x: x)
        logits, pull = jax.vjp(lambda x: network.apply(ones, x), images)
        middle = logits.shape[1] // 2
        (gradient,) = pull(jnp.zeros_like(logits).at[0, middle, middle, 0].set(1.0))
    rows = np.flatnonzero(np.abs(gradient[0, :, :, 0]).max(1))
    assert rows[-1] - rows[0] + 1 == patch


@pytest.fixture(scope="module")
def attending():
    config = dataclasses.replace(SMALL, components=3, component_width=8)
    network, images = Translator(config), jnp.zeros((1, *config.image_size, 3))
    return config, network, random_variables(lambda: network.init(jax.random.key(0), images))


def test_components_gather_from_the_image_and_are_attended(attending):
    config, network, variables = attending
    images = jax.random.uniform(jax.random.key(1), (2, *config.image_size, 3), minval=-1)
    apply = jax.jit(network.apply)
    translated, out = apply(variables, images)
    assert [layer.shape for layer in out["attention"]] == [(2, 3, 1, 4, 6)] * config.blocks
    for layer in out["attention"]:
        np.testing.assert_allclose(layer.sum(1), 1, atol=1e-5)
    # The first block's components have read the image, so another image has other maps later.
    assert np.abs(np.diff(out["attention"][1], axis=0)).max() > 1e-3
    alone, _ = apply(variables, images[1:])
    np.testing.assert_allclose(translated[1:], alone, atol=2e-5)


def test_bfloat16_is_near_float32(attending):
    config, network, variables = attending
    images = jax.random.uniform(jax.random.key(1), (1, *config.image_size, 3), minval=-1)
    exact, _ = jax.jit(network.apply)(variables, images)
    rough, _ = jax.jit(Translator(dataclasses.replace(config, dtype="bfloat16")).apply)(
        variables, images
    )
    assert rough.dtype == jnp.float32 and 0 < np.abs(rough - exact).mean() < 0.1


def numbered(values):
    return jnp.asarray(values, jnp.float32)[:, None, None, None]


def test_a_pool_fills_before_it_exchanges():
    pool, seen = numbered([0, 0, 0]), 0
    for start in (1, 3):
        pool, shown = exchange(pool, jnp.int32(seen), numbered([start, start + 1]), key(start))
        seen += 2
        if start == 1:
            np.testing.assert_array_equal(shown.ravel(), [1, 2])
    assert set(np.asarray(pool).ravel()) | set(np.asarray(shown).ravel()) == {1, 2, 3, 4}


def key(number):
    return jax.random.key(number)


def test_half_of_the_images_are_exchanged_and_none_is_lost():
    pool, held, exchanged = numbered(range(1, 6)), set(range(1, 6)), 0
    step = jax.jit(exchange)
    for number in range(6, 206, 4):
        new = numbered(range(number, number + 4))
        pool, shown = step(pool, jnp.int32(100), new, key(number))
        given = {int(x) for x in np.asarray(shown).ravel()}
        fresh = set(range(number, number + 4))
        exchanged += len(given - fresh)
        now = {int(x) for x in np.asarray(pool).ravel()}
        assert given | now == held | fresh and not given & now
        held = now
    assert 70 < exchanged < 130  # of 200: images of one batch may be exchanged for each other


def test_an_empty_pool_shows_what_is_new():
    images = numbered([1, 2])
    pool, shown = exchange(jnp.zeros((0, 1, 1, 1)), jnp.int32(9), images, key(0))
    assert not len(pool)
    np.testing.assert_array_equal(shown, images)
