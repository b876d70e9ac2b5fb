"""One round of the game: what each update changes, and that devices do not change it.

Comparisons between devices train with SGD: Adam would hide a gradient of the wrong scale.
"""

import dataclasses
import functools
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import flax.jax_utils
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import BATCH, random_batch, tiny_config

from ganformer_jax import losses
from ganformer_jax.errors import UserError
from ganformer_jax.models import Discriminator
from ganformer_jax.train.compile import CompiledGame, check_training, find_devices
from ganformer_jax.train.players import _cutoff
from ganformer_jax.train.state import Optimizers, create_state, make_optimizers
from ganformer_jax.train.steps import Game

RATE = 0.05
SGD = Optimizers(optax.sgd(RATE), optax.sgd(RATE))
CLASSES = 3


def conditional(config):
    """The same networks for labeled images."""
    return dataclasses.replace(
        config, generator=dataclasses.replace(config.generator, label_size=CLASSES)
    )


FULL = conditional(tiny_config(path_length_weight=2.0, component_mixing=0.5))


def labeled_batch(number, batch=BATCH):
    """Labels in no order that devices could share."""
    labels = np.random.default_rng(number).integers(0, CLASSES, batch)
    return random_batch(number, batch) | {"labels": np.eye(CLASSES, dtype=np.float32)[labels]}


def without_device_draws(config):
    """Turns off what differs from device to device under pmap: noise, dropout, groups."""
    generator = dataclasses.replace(
        config.generator,
        synthesis=dataclasses.replace(config.generator.synthesis, noise=False),
        attention=dataclasses.replace(config.generator.attention, dropout=0.0),
    )
    discriminator = dataclasses.replace(config.discriminator, minibatch_stddev_channels=0)
    return dataclasses.replace(config, generator=generator, discriminator=discriminator)


def play_compiled(config, devices, rounds=2):
    game = CompiledGame(config, devices, SGD)
    state = game.create(jax.random.key(0))
    infos = []
    for number in range(rounds):
        state, info = game.step(state, game.place(labeled_batch(number)), number)
        infos.append(info)
    return jax.device_get((state.replace(key=jax.random.key_data(state.key)), infos))


def play_pmapped(config, devices, rounds):
    game = Game(config, axis_name="devices", optimizers=SGD)
    state = flax.jax_utils.replicate(create_state(config, jax.random.key(0), SGD), devices)
    infos = []
    for number in range(rounds):
        batch = {
            name: array.reshape(len(devices), -1, *array.shape[1:])
            for name, array in labeled_batch(number).items()
        }
        due = CompiledGame(config, devices[:1]).due(number)
        step = functools.partial(
            game.train_step, path_length="path_length_step" in due, r1="r1_step" in due
        )
        state, info = jax.pmap(step, "devices")(state, batch)
        infos.append(info)
    first = jax.tree.map(lambda leaf: leaf[0], (state, infos))
    return jax.device_get((first[0].replace(key=jax.random.key_data(first[0].key)), first[1]))


REGULARIZERS = ("path_length_step", "r1_step")


def compare_meshes():
    """Run in a process with eight devices."""
    devices = jax.devices()
    assert len(devices) == 8
    assert_close(play_compiled(FULL, devices[:1]), play_compiled(FULL, devices))


def compare_pmap():
    """Run in a process with eight devices."""
    devices, config = jax.devices(), without_device_draws(FULL)
    # One round, the one with every regularizer: each variant is a slow compilation.
    assert_close(play_compiled(config, devices[:1], 1), play_pmapped(config, devices, 1))


def compare_costs():
    """Run in a process with eight devices; prints the share of one of them."""
    devices = jax.devices()
    config = dataclasses.replace(FULL, train=dataclasses.replace(FULL.train, batch_size=8 * BATCH))
    for name in (*REGULARIZERS, "adversarial_step"):
        flops = []
        for used in (devices[:1], devices):
            game = CompiledGame(config, used, SGD)
            batch = game.place(labeled_batch(0, 8 * BATCH))
            program = game.lower(name, game.abstract_state(), batch).compile()
            analysis = program.cost_analysis()
            assert analysis
            flops.append(analysis["flops"])
        print(name, flops[1] / flops[0])
        assert flops[1] < 0.17 * flops[0], (name, flops)


def assert_close(one, other):
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(other), strict=True
    ):
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("comparison", ["compare_meshes", "compare_pmap", "compare_costs"])
def test_eight_devices(comparison):
    folder = Path(__file__).parent
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    result = subprocess.run(
        [sys.executable, "-c", f"import conftest, test_steps; test_steps.{comparison}()"],
        env=os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": f"{folder}:{folder.parent}"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]


CONFIG = tiny_config(components=0)


@pytest.fixture(scope="module")
def state():
    return jax.jit(lambda key: create_state(CONFIG, key, SGD))(jax.random.key(1))


def play(name, state, config=CONFIG):
    step = getattr(Game(config, optimizers=SGD), name)
    return jax.jit(step)(state, random_batch(0))


def changed(before, after):
    fields = [field.name for field in dataclasses.fields(before)]
    return {
        name
        for name in fields
        if name != "key"
        and any(
            not np.array_equal(a, b)
            for a, b in zip(
                jax.tree.leaves(getattr(before, name)),
                jax.tree.leaves(getattr(after, name)),
                strict=True,
            )
        )
    }


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("generator_step", {"generator", "w_average"}),
        ("discriminator_step", {"discriminator"}),
        ("r1_step", {"discriminator"}),
    ],
)
def test_an_update_changes_its_own_network_only(state, name, fields):
    after, info = play(name, state)
    assert changed(state, after) == fields
    assert all(np.isfinite(value) for value in info.values())


@pytest.mark.parametrize(("loss", "dtype"), [("hinge", "bfloat16"), ("wgan", "float32")])
def test_other_losses_and_types_train(loss, dtype):
    config = tiny_config(components=0, generator=loss, discriminator=loss)
    generator = dataclasses.replace(config.generator, dtype=dtype)
    discriminator = dataclasses.replace(config.discriminator, dtype=dtype)
    config = dataclasses.replace(config, generator=generator, discriminator=discriminator)
    before = create_state(config, jax.random.key(1), SGD)
    after, info = play("adversarial_step", before, config)
    assert changed(before, after) >= {"generator", "discriminator", "ema", "w_average"}
    for leaf in jax.tree.leaves((after.replace(key=None), info)):
        assert np.isfinite(leaf).all() and leaf.dtype in (jnp.float32, jnp.int32)


def test_no_two_leaves_share_memory():
    state = create_state(CONFIG, jax.random.key(1), SGD)  # jax.jit would copy by itself
    leaves = [leaf for leaf in jax.tree.leaves(state.replace(key=None)) if leaf.size]
    assert len({leaf.unsafe_buffer_pointer() for leaf in leaves}) == len(leaves)


def test_r1_is_lazy_and_so_much_stronger(state):
    """SGD moves by rate * interval * gamma / 2 * gradient of the mean penalty."""
    images = jnp.asarray(random_batch(0)["images"], jnp.float32) / 127.5 - 1

    def penalty(params):
        def discriminate(images):
            return Discriminator(CONFIG.discriminator).apply({"params": params}, images, None)[0]

        return losses.r1_penalty(discriminate, images).mean()

    value, gradient = jax.jit(jax.value_and_grad(penalty))(state.discriminator)
    after, info = play("r1_step", state)
    gain = RATE * CONFIG.loss.r1_interval * CONFIG.loss.r1_gamma / 2
    expected = jax.tree.map(lambda p, g: p - gain * g, state.discriminator, gradient)
    assert_close(after.discriminator, expected)
    np.testing.assert_allclose(info["loss/r1"], CONFIG.loss.r1_gamma / 2 * value, rtol=1e-4)


def test_the_average_halves_its_distance_in_a_half_life(state):
    config = dataclasses.replace(
        CONFIG,
        optimizer=dataclasses.replace(CONFIG.optimizer, ema_kimg=BATCH / 1000, ema_rampup=None),
    )
    moved = state.replace(ema=jax.tree.map(lambda p: p + 1, state.generator))
    after = Game(config).average_step(moved, random_batch(0))
    expected = jax.tree.map(lambda p: p + 0.5, state.generator)
    assert_close(after.ema, expected)
    assert int(after.step) == 1 and int(after.images_seen) == BATCH


def test_the_average_follows_faster_in_the_beginning(state):
    moved = state.replace(ema=jax.tree.map(lambda p: p + 1, state.generator))
    first = Game(CONFIG).average_step(moved, random_batch(0))
    assert_close(first.ema, state.generator)  # nothing seen yet: a copy
    seen = round(BATCH / 0.05)
    later = Game(CONFIG).average_step(moved.replace(images_seen=jnp.int32(seen)), random_batch(0))
    assert_close(later.ema, jax.tree.map(lambda p: p + 0.5, state.generator))


def test_mean_of_w_moves_by_its_decay(state):
    after, _ = play("generator_step", state.replace(w_average=jnp.full_like(state.w_average, 9.0)))
    zero, _ = play("generator_step", state.replace(w_average=jnp.zeros_like(state.w_average)))
    beta = CONFIG.optimizer.w_average_beta
    assert_close(after.w_average - zero.w_average, jnp.full_like(state.w_average, 9 * beta))


def test_steps_draw_anew(state):
    one, _ = play("generator_step", state)
    other, _ = play("generator_step", state.replace(step=jnp.int32(1)))
    assert changed(one, other) >= {"generator", "w_average"}


@pytest.mark.parametrize(
    ("weights", "ratios"),
    [
        (
            {"path_length_weight": 2.0, "path_length_interval": 4, "r1_interval": 16},
            (4 / 5, 16 / 17),
        ),
        ({"path_length_weight": 0.0, "r1_interval": 0}, (1, 1)),
        ({"path_length_weight": 2.0, "path_length_interval": 0, "r1_gamma": 0.0}, (1, 1)),
    ],
)
def test_adam_is_corrected_for_lazy_regularization(weights, ratios):
    """Adam's first step is the learning rate; its second moment decays by beta2."""
    config = tiny_config(**weights)
    parameter = jnp.ones(())
    for optimizer, ratio in zip(make_optimizers(config), ratios, strict=True):
        start: Any = optimizer.init(parameter)
        update, memory = optimizer.update(jnp.float32(3.0), start, parameter)
        expected = -config.optimizer.learning_rate * ratio
        np.testing.assert_allclose(jnp.asarray(update), expected, rtol=1e-4)
        second = jax.tree.leaves(memory)[-1]
        np.testing.assert_allclose(second, 9 * (1 - 0.99**ratio), rtol=1e-4)


@pytest.mark.parametrize("config", [tiny_config(), FULL], ids=["unconditional", "conditional"])
def test_labels_travel_only_where_they_matter(config):
    """An unconditional network may train on a labeled dataset."""
    game = CompiledGame(config, jax.devices()[:1])
    placed, expected = game.place(labeled_batch(0)), game.abstract_batch()
    assert {name: (array.shape, array.dtype) for name, array in placed.items()} == {
        name: (array.shape, array.dtype) for name, array in expected.items()
    }
    assert ("labels" in placed) == bool(config.generator.label_size)


def test_regularizers_take_part_when_due():
    game = CompiledGame(
        tiny_config(path_length_weight=1.0, path_length_interval=2, r1_interval=3),
        jax.devices()[:1],
    )
    assert [len(game.due(number)) for number in range(7)] == [3, 1, 2, 2, 2, 1, 3]
    assert game.due(3) == ["r1_step", "adversarial_step"]
    off = CompiledGame(tiny_config(r1_gamma=0.0), jax.devices()[:1])
    assert off.due(0) == ["adversarial_step"]


def test_cutoffs():
    keys = jax.random.split(jax.random.key(0), 400)
    always = np.asarray(jax.vmap(lambda key: _cutoff(key, 1.0, 5))(keys))
    assert set(always) == {1, 2, 3, 4}
    never = np.asarray(jax.vmap(lambda key: _cutoff(key, 0.0, 5))(keys))
    assert set(never) == {5}
    often = np.asarray(jax.vmap(lambda key: _cutoff(key, 0.9, 5))(keys))
    assert 0.85 < np.mean(often < 5) < 0.95


@pytest.mark.parametrize(
    ("config", "devices", "message"),
    [
        (tiny_config(), 3, "does not divide over 3"),
        (tiny_config(path_length_weight=1.0), 16, "path_length_batch_shrink"),
        (
            dataclasses.replace(
                tiny_config(), train=dataclasses.replace(tiny_config().train, batch_size=6)
            ),
            1,
            "minibatch_stddev_group",
        ),
    ],
)
def test_batches_that_do_not_divide(config, devices, message):
    with pytest.raises(UserError, match=message):
        check_training(config, devices)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        *(("train", "total_kimg", value) for value in (NAN, INF, -1.0)),
        ("train", "log_kimg", NAN),
        ("train", "seed", -1),
        ("train", "seed", 2**32),
        ("train", "metric_images", 0),
        ("data", "threads", -1),
        ("data", "train_images", 0),
        ("loss", "path_length_batch_shrink", 0),
        ("loss", "r1_gamma", NAN),
        ("loss", "r1_gamma", INF),
        ("loss", "style_mixing", NAN),
        ("loss", "r1_interval", -1),
        ("optimizer", "learning_rate", NAN),
        ("optimizer", "learning_rate", INF),
        ("optimizer", "beta2", 1.5),
        ("optimizer", "ema_rampup", NAN),
    ],
)
def test_numbers_out_of_range(part, name, value):
    config = tiny_config()
    wrong = dataclasses.replace(getattr(config, part), **{name: value})
    with pytest.raises(UserError, match=f"^{part}.{name} is {value}; it should be "):
        check_training(dataclasses.replace(config, **{part: wrong}), 1)


@pytest.mark.parametrize("name", ["cuda", "rocm", "gpu", "cpu"])
def test_a_gpu_goes_by_several_names(monkeypatch, name):
    monkeypatch.setattr(jax, "devices", lambda: [types.SimpleNamespace(platform=name)])
    before = getattr(jax.config, "jax_platforms", None)
    if name == "cpu":
        with pytest.raises(UserError, match="no gpu found: jax runs on cpu here"):
            find_devices("gpu")
    else:
        assert find_devices("gpu")[0].platform == name
    assert getattr(jax.config, "jax_platforms", None) == before
