"""Penalties of the discriminator, losses of pairs, clipping: each update against its definition."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from eight_devices import on_eight_devices
from sharing import compare_parts
from tiny import BATCH, random_batch, tiny_config
from training import SGD_RATE, assert_close, sgd

from ganformer_jax.models import Discriminator
from ganformer_jax.train import updates
from ganformer_jax.train.diagnosis import first_non_finite
from ganformer_jax.train.diversity import diversity, image_moments
from ganformer_jax.train.networks import Networks
from ganformer_jax.train.regularization import path_length_update
from ganformer_jax.train.state import create_state
from ganformer_jax.train.updates import gan_updates

WEIGHTS = {"r1_gamma": 2.0, "r2_gamma": 3.0, "gradient_penalty_weight": 5.0}
PAIRED = {"generator": "relativistic", "discriminator": "relativistic"}
LOSSES = ("loss/discriminator", "loss/r1", "loss/r2", "loss/gradient_penalty")
JOINED = tiny_config(0, r1_interval=1, **WEIGHTS, **PAIRED)
LAZY = tiny_config(0, r1_interval=4, **WEIGHTS, **PAIRED)


def first_state(config, seed=1):
    return jax.jit(lambda key: create_state(config, key, sgd()))(jax.random.key(seed))


@functools.cache
def applied(name, config):
    """State before and after an update with SGD, and what it reports."""
    before = first_state(config)
    update = functools.partial(getattr(updates, name), Networks(config, optimizers=sgd()))
    return before, *jax.jit(update)(before, random_batch(0))


@functools.partial(jax.jit, static_argnums=(0, 2))
def generated(networks, state, row):
    """The images of an update."""
    keys = networks.keys(state, row)
    w, _ = networks.sample_w(state.generator, state, keys, None, BATCH)
    return networks.synthesize(state.generator, state, keys, w)


def expected_update(config, row, *names, count=1.0):
    """Loss of the discriminator and penalties, written out, and the gradient of the named ones.

    Each of them counts as often as `count` says.
    """
    counts = {name: jnp.float32(count if name in names else 0) for name in LOSSES}
    state = first_state(config)
    return expected_values(state, Networks(config).keys(state, row), counts)


@jax.jit
def expected_values(state, keys, counts):
    """The same for both configs, which differ in when penalties are due."""
    config = JOINED
    networks = Networks(config)
    real = jnp.asarray(random_batch(0)["images"], jnp.float32) / 127.5 - 1
    share = jax.random.uniform(keys["interpolation"], (BATCH, 1, 1, 1))

    def logits(params, images):
        return Discriminator(config.discriminator).apply({"params": params}, images, None)[0]

    def squared_slopes(params, images):
        slope = jax.grad(lambda x: logits(params, x).sum())(images)
        return (slope**2).sum((1, 2, 3))

    def values(params):
        w, _ = networks.sample_w(state.generator, state, keys, None, BATCH)
        fake = networks.synthesize(state.generator, state, keys, w)
        between = share * real + (1 - share) * fake
        pairs = logits(params, real) - logits(params, fake)
        return {
            "loss/discriminator": jnp.log1p(jnp.exp(-pairs)).mean(),
            "loss/r1": WEIGHTS["r1_gamma"] / 2 * squared_slopes(params, real).mean(),
            "loss/r2": WEIGHTS["r2_gamma"] / 2 * squared_slopes(params, fake).mean(),
            "loss/gradient_penalty": WEIGHTS["gradient_penalty_weight"]
            * ((jnp.sqrt(squared_slopes(params, between)) - 1) ** 2).mean(),
        }

    found, pull_back = jax.vjp(values, state.discriminator)
    return found, pull_back(counts)[0]


def test_penalties_of_every_step_are_part_of_the_loss():
    """One gradient of the sum, one optimizer step, and no other update."""
    before, after, info = applied("discriminator_update", JOINED)
    found, total = expected_update(JOINED, "discriminator", *LOSSES)
    for name, value in found.items():
        np.testing.assert_allclose(info[name], value, rtol=1e-4)
    moved = jax.tree.map(lambda p, g: p - SGD_RATE * g, before.discriminator, total)
    assert_close(after.discriminator, moved)
    assert [update.name for update in gan_updates(JOINED)] == ["adversarial"]


def test_lazy_penalties_have_an_update_of_their_own():
    """At images that it generates by itself, stronger by its interval."""
    before, after, info = applied("discriminator_penalty_update", LAZY)
    names = [name for name in LOSSES if name != "loss/discriminator"]
    found, total = expected_update(LAZY, "regularization", *names, count=4.0)
    assert set(info) == {*names, "gradient_norm/r1"}
    for name in names:
        np.testing.assert_allclose(info[name], found[name], rtol=1e-4)
    moved = jax.tree.map(lambda p, g: p - SGD_RATE * g, before.discriminator, total)
    assert_close(after.discriminator, moved)
    other, _ = expected_update(LAZY, "discriminator")
    assert abs(other["loss/r2"] / found["loss/r2"] - 1) > 1e-3  # other images
    assert [(u.name, u.interval) for u in gan_updates(LAZY)] == [("r1", 4), ("adversarial", 1)]


@pytest.mark.parametrize(
    ("changes", "interval"),
    [
        ({"r1_gamma": 0.0}, None),
        ({"r1_gamma": 0.0, "r2_gamma": 1.0}, 16),
        ({"r1_gamma": 0.0, "gradient_penalty_weight": 1.0}, 16),
        ({"r1_interval": 0}, None),
        ({"r1_interval": 1}, None),
        ({"r1_interval": 2}, 2),
    ],
)
def test_when_penalties_are_due(changes, interval):
    found = {update.name: update.interval for update in gan_updates(tiny_config(0, **changes))}
    assert found.get("r1") == interval


def test_a_relativistic_generator_sees_the_real_images_of_its_batch():
    before, _, info = applied("generator_update", JOINED)
    networks = Networks(JOINED)
    fake = generated(networks, before, "generator")
    real = jnp.asarray(random_batch(0)["images"], jnp.float32) / 127.5 - 1
    discriminate = jax.jit(Discriminator(JOINED.discriminator).apply)
    weights = {"params": before.discriminator}
    logits = [np.float64(discriminate(weights, x)[0]) for x in (real, fake)]
    expected = np.log1p(np.exp(logits[0] - logits[1])).mean()
    np.testing.assert_allclose(info["loss/generator"], expected, rtol=1e-4)


@pytest.mark.slow
def test_parts_of_a_batch_have_the_penalties_of_the_whole():
    """Two steps, with the update of lazy penalties in the first."""
    infos = compare_parts(LAZY, atol=2e-6)
    assert {"loss/r1", "loss/r2", "loss/gradient_penalty", "diversity/generated"} <= set(infos[0])


@pytest.mark.slow
def test_devices():
    program = "import conftest, sharing, test_regularization as test; "
    on_eight_devices(program + "sharing.compare_devices(test.JOINED)")


def norm_of(tree: Any) -> float:
    return float(np.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(tree))))


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_gradients_are_clipped_to_a_norm(share):
    """SGD moves by rate * gradient; the norm of the log is that before clipping."""
    config = tiny_config(0, r1_gamma=0.0)
    before, after, info = applied("discriminator_update", config)
    norm = float(info["gradient_norm/discriminator"])
    options = dataclasses.replace(config.optimizer, gradient_clip=share * norm)
    _, clipped, clipped_info = applied(
        "discriminator_update", dataclasses.replace(config, optimizer=options)
    )
    np.testing.assert_allclose(clipped_info["gradient_norm/discriminator"], norm, rtol=1e-5)
    step, whole = (
        jax.tree.map(lambda a, b: np.asarray(a) - b, x.discriminator, before.discriminator)
        for x in (clipped, after)
    )
    np.testing.assert_allclose(norm_of(step), SGD_RATE * norm * min(share, 1), rtol=1e-3)
    assert_close(step, jax.tree.map(lambda leaf: leaf * min(share, 1), whole), atol=1e-6)


def test_clipping_hides_nothing_that_is_not_finite():
    config = dataclasses.replace(
        JOINED, optimizer=dataclasses.replace(JOINED.optimizer, gradient_clip=1.0)
    )
    state = first_state(config)
    networks = Networks(config, optimizers=sgd())
    for wrong in (jnp.inf, jnp.nan):
        gradients = jax.tree.map(jnp.ones_like, state.discriminator)
        gradients["output"]["bias"] = gradients["output"]["bias"] * wrong
        after, norm = updates.optimizer_step(networks, state, "discriminator", gradients)
        assert not np.isfinite(norm)
        assert not np.isfinite(after.discriminator["output"]["bias"]).all()


def test_losses_whose_logits_have_no_zero_report_no_r_t():
    _, _, info = applied("discriminator_update", JOINED)
    assert "overfitting/r_t" not in info and "diversity/generated" in info


def test_r_t_of_least_squares_is_relative_to_a_half():
    config = tiny_config(0, generator="least_squares", discriminator="least_squares", r1_gamma=0.0)
    before = first_state(config)
    last = before.discriminator["output"]
    update = jax.jit(
        functools.partial(updates.discriminator_update, Networks(config, optimizers=sgd()))
    )
    found = []
    for logit in (0.4, 0.6):
        constant = {
            "kernel": jnp.zeros_like(last["kernel"]),
            "bias": jnp.full_like(last["bias"], logit),
        }
        state = before.replace(discriminator=before.discriminator | {"output": constant})
        found.append(float(update(state, random_batch(0))[1]["overfitting/r_t"]))
    assert found == [-1.0, 1.0]


# Diversity


def variance_ratio(real, fake):
    """In float64: variance over the batch of means over squares."""

    def variance(images):
        count, height, width, channels = images.shape
        factor = max(1, max(height, width) // 8)
        shape = count, height // factor, factor, width // factor, factor, channels
        return np.float64(images).reshape(shape).mean((2, 4)).var(0).mean()

    return variance(fake) / variance(real)


@pytest.mark.parametrize("size", [(8, 8), (32, 32), (16, 32), (4, 8)])
def test_diversity_is_a_ratio_of_variances(size):
    random = np.random.default_rng(0)
    real, fake = random.uniform(-1, 1, (2, 16, *size, 3)).astype(np.float32)
    fake = 0.5 * fake + 0.4
    found = diversity(*image_moments(real, fake))
    np.testing.assert_allclose(found, variance_ratio(real, fake), rtol=1e-4)
    parts = [image_moments(real[i::4], fake[i::4]) for i in range(4)]
    together = jax.tree.map(lambda *means: jnp.stack(means).mean(0), *parts)
    np.testing.assert_allclose(diversity(*together), found, rtol=1e-4)


def test_diversity_of_one_image_is_0_and_of_real_ones_1():
    real = np.random.default_rng(0).uniform(-1, 1, (16, 16, 16, 3)).astype(np.float32)
    same = np.broadcast_to(real[:1], real.shape)
    assert 0 <= diversity(*image_moments(real, same)) < 1e-4
    np.testing.assert_allclose(diversity(*image_moments(real, real[::-1])), 1, rtol=1e-5)
    assert np.isfinite(diversity(*image_moments(same, real)))
    odd = real[:, :15]  # which no halving divides
    np.testing.assert_allclose(diversity(*image_moments(odd, odd)), 1, rtol=1e-5)


def test_an_update_reports_the_diversity_of_its_images():
    state, _, info = applied("discriminator_update", JOINED)
    fake = generated(Networks(JOINED), state, "discriminator")
    real = random_batch(0)["images"] / 127.5 - 1
    expected = variance_ratio(real, np.asarray(fake))
    np.testing.assert_allclose(info["diversity/generated"], expected, rtol=1e-3)


@pytest.mark.slow
def test_diagnosis_knows_losses_of_pairs_and_penalties():
    batch = {"images": jnp.asarray(random_batch(0)["images"])}
    assert first_non_finite(Networks(JOINED), first_state(JOINED), batch) == ""


def test_gradients_of_path_lengths_go_through_their_running_mean():
    """With one image and a mean that starts at 0, the penalty is ((1 - decay) length)^2.

    Gradients are stronger by the interval.
    """
    norms = []
    for decay, interval in ((0.0, 4), (0.5, 12)):
        loss = {"path_length_weight": 2.0, "path_length_decay": decay}
        loss["path_length_interval"] = interval
        config = tiny_config(0, **loss, path_length_batch_shrink=BATCH)
        before, after, info = applied("path_length_update", config)
        length = float(jnp.sqrt(info["loss/path_length"] / 2)) / (1 - decay)
        assert float(after.path_length_mean) == pytest.approx(decay * length, rel=1e-5)
        norms.append(float(info["gradient_norm/path_length"]))
    assert norms[0] > 0 and norms[1] == pytest.approx(3 * norms[0] / 4, rel=1e-4)


def test_path_lengths_of_no_image_are_refused():
    config = tiny_config(0, path_length_weight=2.0, path_length_batch_shrink=2 * BATCH)
    update = functools.partial(path_length_update, Networks(config, optimizers=sgd()))
    state = jax.eval_shape(lambda key: create_state(config, key, sgd()), jax.random.key(0))
    with pytest.raises(ValueError, match="path_length_batch_shrink 32 leaves 0 of 16 images"):
        jax.eval_shape(update, state, random_batch(0))
