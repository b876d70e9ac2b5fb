"""Images merged into one, as in k-GAN."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import random_variables

from ganformer_jax import Generator, GeneratorConfig, MappingConfig, MergeConfig, SynthesisConfig
from ganformer_jax.models.merging import MergeShares, leaves, merge_images, merge_latents
from ganformer_jax.models.noise_maps import noise_maps, with_noise_maps
from ganformer_jax.nn.microbatch import Microbatch
from ganformer_jax.sampling import Sampler

IMAGES, BATCH = 3, 4
CONFIG = GeneratorConfig(
    resolution=16,
    components=0,
    latent_size=8 * IMAGES,
    mapping=MappingConfig(num_layers=1, self_attention=False, learning_rate_multiplier=1.0),
    merge=MergeConfig(images=IMAGES, resolution=8),
    synthesis=SynthesisConfig(channel_base=64, channel_max=8),
)
KINDS = ["sum", "softmax", "max", "leaves", "leaves_of_batch"]


def build(config=CONFIG):
    generator = Generator(config)
    z_BxKxD = jax.random.normal(jax.random.key(0), (BATCH, config.num_latents, config.z_size))
    variables = random_variables(lambda: generator.init(jax.random.key(1), z_BxKxD, noise="const"))
    return generator, variables, z_BxKxD


def scores():
    return jax.random.normal(jax.random.key(0), (BATCH, IMAGES, 2, 2)) * 3


def shares_of(**options):
    """The shares of images whose one channel is the score."""
    config = MergeConfig(images=IMAGES, **options)
    x = scores().reshape(BATCH * IMAGES, 2, 2, 1)
    variables = {"params": {"scores": {"kernel": jnp.ones((1, 1, 1, 1))}}}
    variables = {} if config.kind == "sum" else variables
    return np.asarray(MergeShares(config).apply(variables, x))


@pytest.mark.parametrize("kind", KINDS)
def test_shares_are_positive_and_sum_to_one_but_for_the_sum(kind):
    shares = shares_of(kind=kind)
    assert shares.shape == (BATCH, IMAGES, 2, 2) and (shares >= 0).all()
    np.testing.assert_allclose(shares.sum(1), IMAGES if kind == "sum" else 1, rtol=1e-6)


def test_shares_by_their_definition():
    given = np.asarray(scores(), np.float64)
    np.testing.assert_array_equal(shares_of(kind="max").argmax(1), given.argmax(1))
    exponents = np.exp(given)
    softmax = exponents / exponents.sum(1, keepdims=True)
    np.testing.assert_allclose(shares_of(kind="softmax"), softmax, rtol=1e-5)
    totals = np.exp(given.sum((2, 3), keepdims=True))
    uniform = np.broadcast_to(totals / totals.sum(1, keepdims=True), given.shape)
    np.testing.assert_allclose(shares_of(kind="softmax", uniform=True), uniform, rtol=1e-4)


def test_leaves_fall_upon_those_before():
    def cover(score, before):
        return 1 / (1 + np.exp(before - score))

    given = np.asarray(scores(), np.float64)
    for of_batch in False, True:
        highest = [given[:, :n].max(None if of_batch else 1) for n in (1, 2)]
        second, third = cover(given[:, 1], highest[0]), cover(given[:, 2], highest[1])
        expected = [(1 - second) * (1 - third), second * (1 - third), third]
        shares = leaves(scores(), of_batch)
        np.testing.assert_allclose(shares, np.stack(expected, 1), rtol=1e-5, atol=1e-6)


def test_images_and_latents_are_added_up_with_their_shares():
    shares = jnp.asarray(shares_of(kind="softmax"))
    x = jax.random.normal(jax.random.key(1), (BATCH * IMAGES, 2, 2, 5))
    w = jax.random.normal(jax.random.key(2), (BATCH * IMAGES, 1, 3, 7))
    images = merge_images(x, shares)
    by_hand = sum(shares[1, k, 0, 1] * x[IMAGES + k, 0, 1] for k in range(IMAGES))
    np.testing.assert_allclose(images[1, 0, 1], by_hand, rtol=1e-5)
    latents = merge_latents(w, shares)
    by_hand = sum(shares[2, k].mean() * w[2 * IMAGES + k, 0] for k in range(IMAGES))
    np.testing.assert_allclose(latents[2, 0], by_hand, rtol=1e-5)


@pytest.mark.parametrize("architecture", ["resnet", "skip", "orig"])
@pytest.mark.parametrize("resolution", [4, None])
def test_images_are_merged_anywhere_in_any_architecture(architecture, resolution):
    synthesis = dataclasses.replace(CONFIG.synthesis, architecture=architecture)
    merge = dataclasses.replace(CONFIG.merge, resolution=resolution)
    generator, variables, z_BxKxD = build(
        dataclasses.replace(CONFIG, synthesis=synthesis, merge=merge)
    )
    images, out = jax.jit(functools.partial(generator.apply, noise="const"))(variables, z_BxKxD)
    side = resolution or 16
    assert images.shape == (BATCH, 16, 16, 3) and out["shares"].shape == (BATCH, IMAGES, side, side)
    assert out["attention"] == ()


def test_an_image_depends_on_its_own_seed_and_latents_alone():
    generator, variables, z_BxKxD = build()
    seeds = jnp.arange(BATCH, dtype=jnp.uint32)

    @jax.jit
    def run(z_BxKxD, seeds):
        settings = {"noise": "random", "rngs": {"noise": jax.random.key(0)}}
        return generator.apply(variables, z_BxKxD, noise_seeds_B=seeds, **settings)[0]

    whole, alone = run(z_BxKxD, seeds), run(z_BxKxD[2:3], seeds[2:3])
    np.testing.assert_allclose(alone[0], whole[2], rtol=1e-4, atol=1e-5)


def test_microbatches_draw_the_noise_of_the_whole():
    generator, variables, _ = build()
    w_BxKxLxD = jax.random.normal(
        jax.random.key(3), (BATCH, IMAGES, generator.num_layers, CONFIG.w_size)
    )

    @functools.partial(jax.jit, static_argnames="parts")
    def synthesize(w, index=0, parts=1):
        microbatch, rngs = Microbatch(index, parts), {"noise": jax.random.key(0)}
        return generator.apply(variables, w, microbatch=microbatch, rngs=rngs, method="synthesize")[
            0
        ]

    whole = synthesize(w_BxKxLxD)
    for index in range(2):
        microbatch = Microbatch(index, 2)
        part = synthesize(microbatch.take(w_BxKxLxD), index, parts=2)
        np.testing.assert_allclose(part, microbatch.take(whole), rtol=1e-4, atol=1e-5)


def test_the_images_of_a_row_have_noise_of_their_own():
    """With equal latents and first grids, only noise tells the images apart."""
    generator, variables, _ = build()
    variables = jax.tree.map(jnp.asarray, variables)
    stem = variables["params"]["synthesis"]["stem"]
    stem["constant"] = jnp.tile(stem["constant"][:1], (IMAGES, 1, 1, 1))
    w_BxKxLxD = jnp.ones((1, IMAGES, generator.num_layers, CONFIG.w_size))
    rngs = {"noise": jax.random.key(0)}
    spread = {}
    for noise in "none", "const", "random":
        settings = {"noise": noise, "rngs": rngs, "method": "synthesize"}
        _, out = jax.jit(functools.partial(generator.apply, **settings))(variables, w_BxKxLxD)
        spread[noise] = float(jnp.std(out["shares"], 1).max())
    assert spread["none"] < 1e-5 and min(spread["const"], spread["random"]) > 1e-2


@pytest.mark.parametrize("resolution", [4, 8])
def test_noise_of_single_images_where_images_are_merged(resolution):
    """The fixed noise given for each image makes the same images; other noise of one, another."""
    merge = dataclasses.replace(CONFIG.merge, resolution=resolution)
    generator, variables, z_BxKxD = build(dataclasses.replace(CONFIG, merge=merge))
    run = jax.jit(functools.partial(generator.apply, noise="const"))
    maps = noise_maps(variables, BATCH)
    images, _ = run(variables, z_BxKxD)
    same, _ = run(with_noise_maps(variables, maps), z_BxKxD)
    np.testing.assert_allclose(same, images, rtol=1e-5, atol=1e-5)
    (name,) = (name for name in maps if name.endswith(f"block_{resolution}/layer_1/noise/noise"))
    changed, _ = run(
        with_noise_maps(variables, maps | {name: maps[name].at[1].multiply(-1)}), z_BxKxD
    )
    differs = np.abs(changed - images).max((1, 2, 3)) > 1e-3
    np.testing.assert_array_equal(differs, [False, True, False, False])


def test_shares_are_the_maps_of_samples():
    """So that they are segmented and scored as attention is."""
    _, variables, _ = build()
    sampler = Sampler(CONFIG, 2, noise="none", attention=True)
    _, w_BxKxD, maps = sampler(variables, [5, 6])
    assert w_BxKxD.shape == (2, IMAGES, CONFIG.w_size)
    (shares,) = maps
    assert shares.shape == (2, IMAGES, 1, 8, 8)
    np.testing.assert_allclose(np.sum(shares, 1), 1, rtol=1e-5)
