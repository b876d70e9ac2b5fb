"""A training step: what each update changes, and that devices do not change it."""

import dataclasses
import functools
from typing import Any

import flax.jax_utils
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from captioned import captioned_batch, with_captions
from eight_devices import on_eight_devices
from sharing import shares, without_device_draws
from tiny import BATCH, FULL, conditional, labeled_batch, random_batch, tiny_config
from training import SGD_RATE, assert_close, gan_programs, on_host, run_steps, sgd

from ganformer_jax import losses
from ganformer_jax.config.checks import check_batch, validate
from ganformer_jax.errors import UserError
from ganformer_jax.models import Discriminator
from ganformer_jax.train import updates
from ganformer_jax.train.data_parallel import DataParallel
from ganformer_jax.train.discriminator_loss import compared
from ganformer_jax.train.networks import Networks, draw_cutoff
from ganformer_jax.train.pmap import AXIS, pmap_updates
from ganformer_jax.train.prefetch import place_batch
from ganformer_jax.train.state import create_state, make_optimizers
from ganformer_jax.train.trainable import due_updates, train_step
from ganformer_jax.train.updates import batch_shapes, gan_updates

# Eight devices under pmap, in a process of their own


def first_state(config, seed=0):
    return jax.jit(lambda key: create_state(config, key, sgd()))(jax.random.key(seed))


def pmapped_step(config, batch):
    """State and info of every device after one step under pmap."""
    devices = jax.devices()
    state = flax.jax_utils.replicate(first_state(config), devices)
    step = pmap_updates(config, sgd(), devices)
    return on_host(train_step(step, state, shares(batch, len(devices)), 0))


def compare_pmap_sums(path_length):
    """Without what is a device's own, pmap gives what jit gives on one device."""
    weights = {"mismatch_weight": 0.5, "contrastive_weight": 0.5}
    config = conditional(tiny_config(0, path_length_weight=path_length, **weights))
    config = without_device_draws(config)
    one = run_steps(gan_programs(config, jax.devices()[:1], sgd()), [labeled_batch(0)])
    state, info = pmapped_step(config, labeled_batch(0))
    first = jax.tree.map(lambda leaf: leaf[0], (state, [info]))
    assert_close(one, first)


def compare_pmap_draws():
    """With noise, dropout and minibatch stddev: each device's own draws, one common state.

    The expected gradient of the discriminator is the mean over devices of that of each share,
    computed by vmap, which shares nothing with pmap but the updates themselves.
    """
    config = tiny_config(r1_gamma=0.0)
    generator = dataclasses.replace(config.generator, component_dropout=0.5)
    config = dataclasses.replace(config, generator=generator)
    batch = random_batch(0)
    state, info = pmapped_step(config, batch)
    for leaf in jax.tree.leaves((state.replace(key=None), info)):
        assert (leaf == leaf[:1]).all()  # no device goes its own way
    parallel = DataParallel(axis_name=AXIS)
    step = functools.partial(train_step, gan_updates(config, parallel, sgd()))
    start = first_state(config)
    mapped = jax.jit(jax.vmap(lambda share: step(start, share, 0), axis_name=AXIS, axis_size=8))(
        shares(batch, 8)
    )
    assert_close(on_host(mapped), (state, info))
    networks = Networks(config, parallel)
    keys = networks.keys(start, "generator")

    def images(_):
        w_BxKxLxD, _ = networks.sample_w(start.generator, start, keys, None, BATCH)
        same = jnp.broadcast_to(w_BxKxLxD[:1] * 0, w_BxKxLxD.shape)
        noisy = jax.tree.map(lambda p: p + 1.0 if p.ndim == 0 else p, start.generator)
        return networks.synthesize(noisy, start, keys, same)

    drawn = np.asarray(jax.jit(jax.vmap(images, axis_name=AXIS))(jnp.arange(8)))
    flat = drawn.reshape(8, -1)
    assert len({tuple(row) for row in flat}) == 8  # noise of one device is not another's


@pytest.mark.parametrize("path_length", [0.0, pytest.param(2.0, marks=pytest.mark.slow)])
def test_sums_of_pmap(path_length):
    program = "import conftest, test_updates; test_updates."
    on_eight_devices(f"{program}compare_pmap_sums({path_length})")


@pytest.mark.slow
def test_draws_of_pmap():
    on_eight_devices("import conftest, test_updates; test_updates.compare_pmap_draws()")


# One device

CONFIG = tiny_config(components=0)
NETWORKS = Networks(CONFIG)


@pytest.fixture(scope="module")
def state():
    return first_state(CONFIG, 1)


@functools.cache
def jitted(name, config=CONFIG):
    function = functools.partial(getattr(updates, name), Networks(config, optimizers=sgd()))
    return jax.jit(function)


def apply(name, state, config=CONFIG):
    return jitted(name, config)(state, random_batch(0))


def changed(before, after):
    fields = [field.name for field in dataclasses.fields(before) if field.name != "key"]

    def differs(name):
        pair = jax.tree.leaves(getattr(before, name)), jax.tree.leaves(getattr(after, name))
        return any(not np.array_equal(a, b) for a, b in zip(*pair, strict=True))

    return {name for name in fields if differs(name)}


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("generator_update", {"generator", "w_average"}),
        ("discriminator_update", {"discriminator"}),
        ("discriminator_penalty_update", {"discriminator"}),
    ],
)
def test_an_update_changes_its_own_network_only(state, name, fields):
    after, info = apply(name, state)
    assert changed(state, after) == fields
    assert all(np.isfinite(value) for value in info.values())


@pytest.mark.parametrize(("loss", "dtype"), [("hinge", "bfloat16"), ("wgan", "float32")])
def test_other_losses_and_types_train(loss, dtype):
    config = tiny_config(components=0, generator=loss, discriminator=loss)
    generator = dataclasses.replace(config.generator, dtype=dtype)
    discriminator = dataclasses.replace(config.discriminator, dtype=dtype)
    config = dataclasses.replace(config, generator=generator, discriminator=discriminator)
    before = jax.jit(lambda key: create_state(config, key, sgd()))(jax.random.key(1))
    after, info = apply("adversarial_update", before, config)
    assert changed(before, after) >= {"generator", "discriminator", "ema", "w_average"}
    assert int(after.step) == 1 and int(after.images_seen) == BATCH
    for leaf in jax.tree.leaves((after.replace(key=None), info)):
        assert np.isfinite(leaf).all() and leaf.dtype in (jnp.float32, jnp.int32)
    assert ("overfitting/r_t" in info) == (loss != "wgan")  # whose logits have no zero


def test_the_wasserstein_loss_has_the_epsilon_of_the_config():
    config = tiny_config(0, generator="wgan", discriminator="wgan", wgan_epsilon=0.5)
    real, fake = jnp.array([[1.0], [-2.0]]), jnp.array([[3.0], [5.0]])
    np.testing.assert_allclose(compared(Networks(config), real, fake), [2.5, 9.0], rtol=1e-6)


def test_no_two_leaves_share_memory():
    state = create_state(CONFIG, jax.random.key(1), sgd())  # jax.jit would copy by itself
    leaves = [leaf for leaf in jax.tree.leaves(state.replace(key=None)) if leaf.size]
    assert len({leaf.unsafe_buffer_pointer() for leaf in leaves}) == len(leaves)


def test_r1_is_lazy_and_stronger_by_its_interval(state):
    """SGD moves by rate * interval * gamma / 2 * gradient of the mean penalty."""
    images = jnp.asarray(random_batch(0)["images"], jnp.float32) / 127.5 - 1

    def penalty(params):
        def discriminate(images):
            return Discriminator(CONFIG.discriminator).apply({"params": params}, images, None)[0]

        return losses.r1_penalty(discriminate, images).mean()

    value, gradient = jax.jit(jax.value_and_grad(penalty))(state.discriminator)
    after, info = apply("discriminator_penalty_update", state)
    gain = SGD_RATE * CONFIG.loss.r1_interval * CONFIG.loss.r1_gamma / 2
    expected = jax.tree.map(lambda p, g: p - gain * g, state.discriminator, gradient)
    assert_close(after.discriminator, expected)
    np.testing.assert_allclose(info["loss/r1"], CONFIG.loss.r1_gamma / 2 * value, rtol=1e-4)


def test_r_t_is_the_mean_sign_of_real_logits(state):
    """Karras et al. 2020, equation 1; here some images are called real and some are not."""

    @jax.jit
    def discriminate(params):
        images = jnp.asarray(random_batch(0)["images"], jnp.float32) / 127.5 - 1
        return Discriminator(CONFIG.discriminator).apply({"params": params}, images, None)[0]

    last = state.discriminator["output"]
    middle = np.median(discriminate(state.discriminator))
    shifted = last | {"bias": last["bias"] - middle - 1e-4}
    state = state.replace(discriminator=state.discriminator | {"output": shifted})
    logits = np.asarray(discriminate(state.discriminator))
    assert -1 < np.sign(logits).mean() < 1
    _, info = apply("discriminator_update", state)
    np.testing.assert_allclose(info["overfitting/r_t"], np.sign(logits).mean(), rtol=1e-6)


@pytest.mark.parametrize("loss", ["logistic", pytest.param("relativistic", marks=pytest.mark.slow)])
def test_real_images_of_other_labels_count_as_generated_ones(loss):
    """Reed et al. 2016, section 4.2, with the labels of the image before."""
    weights = {"generator": loss if loss == "relativistic" else "non_saturating"}
    config = conditional(tiny_config(0, discriminator=loss, mismatch_weight=0.5, **weights))
    config = dataclasses.replace(
        config, discriminator=dataclasses.replace(config.discriminator, label_logit="projection")
    )
    state, batch = first_state(config), labeled_batch(0)

    def networks(config):
        return Networks(config, DataParallel(), sgd())

    update = jax.jit(functools.partial(updates.discriminator_update, networks(config)))
    _, info = update(state, batch)
    images = jnp.asarray(batch["images"], jnp.float32) / 127.5 - 1
    judge = jax.jit(Discriminator(config.discriminator).apply)
    others = np.roll(batch["labels"], 1, 0)
    real, other = (
        judge({"params": state.discriminator}, images, labels)[0]
        for labels in (batch["labels"], others)
    )
    differs = (batch["labels"] != others).any(1)
    expected = losses.DISCRIMINATOR_LOSSES[loss](real, other) * differs
    assert 0 < differs.sum() < len(differs)
    np.testing.assert_allclose(info["loss/mismatch"], expected.mean(), rtol=1e-4)
    without = dataclasses.replace(config, loss=dataclasses.replace(config.loss, mismatch_weight=0))
    update = functools.partial(updates.discriminator_update, networks(without))
    assert "loss/mismatch" not in jax.eval_shape(update, state, batch)[1]


@pytest.mark.parametrize(
    "logit",
    ["class", *(pytest.param(n, marks=pytest.mark.slow) for n in ("projection", "embedding"))],
)
def test_the_label_of_an_image_is_found_among_those_of_the_batch(logit):
    """In both networks: the share of an image's own label, by cosines over the temperature."""
    config = conditional(tiny_config(0, contrastive_weight=0.5, contrastive_temperature=0.2))
    config = dataclasses.replace(
        config, discriminator=dataclasses.replace(config.discriminator, label_logit=logit)
    )
    state, batch = first_state(config), labeled_batch(0)
    networks = Networks(config, DataParallel(), sgd())
    labels = jnp.asarray(batch["labels"])
    same = np.asarray(batch["labels"]) @ np.asarray(batch["labels"]).T > 0
    judge = jax.jit(Discriminator(config.discriminator).apply)

    def expected(images):
        _, out = judge({"params": state.discriminator}, images, labels, others_NxY=labels)
        odds = np.exp(np.asarray(out["similarities"], np.float64) / 0.2)
        assert np.abs(out["similarities"]).max() <= 1 + 1e-5
        return -np.log((odds * same).sum(1) / odds.sum(1)).mean()

    _, info = jax.jit(functools.partial(updates.discriminator_update, networks))(state, batch)
    reals = jnp.asarray(batch["images"], jnp.float32) / 127.5 - 1
    np.testing.assert_allclose(info["loss/discriminator_contrastive"], expected(reals), rtol=1e-4)

    @jax.jit
    def generate(state):
        keys = networks.keys(state, "generator")
        w, _ = networks.sample_w(state.generator, state, keys, labels, len(labels))
        return networks.synthesize(state.generator, state, keys, w)

    _, info = jax.jit(functools.partial(updates.generator_update, networks))(state, batch)
    found = info["loss/generator_contrastive"]
    np.testing.assert_allclose(found, expected(generate(state)), rtol=1e-4)


@pytest.mark.slow
def test_the_contrastive_loss_trains_both_networks_on_captions():
    """Steps of plain gradient descent along it alone make images and captions fit better."""
    config = with_captions(tiny_config(0, contrastive_weight=100.0))
    state, batch = first_state(config), captioned_batch(0)
    networks = Networks(config, DataParallel(), sgd())
    for name, steps in (("discriminator", 3), ("generator", 3)):
        update = jax.jit(functools.partial(getattr(updates, f"{name}_update"), networks))
        found = []
        for _ in range(steps):
            state, info = update(state, batch)
            found.append(float(info[f"loss/{name}_contrastive"]))
        assert found[-1] < found[0], name


@pytest.mark.parametrize("weight", ["mismatch_weight", "contrastive_weight"])
def test_losses_about_labels_need_labels(weight):
    with pytest.raises(UserError, match=f"{weight} is about labels, and there are none"):
        validate(tiny_config(0, **{weight: 1.0}))


@pytest.mark.parametrize("weight", ["mismatch_weight", "contrastive_weight"])
def test_losses_about_labels_need_several_images(weight):
    config = conditional(tiny_config(0, **{weight: 1.0}))
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, batch_size=1))
    with pytest.raises(UserError, match=f"loss.{weight} compares labels of a batch"):
        validate(config)


def test_a_temperature_without_its_loss_is_refused():
    with pytest.raises(UserError, match="temperature has no effect: set loss.contrastive_weight"):
        validate(conditional(tiny_config(0, contrastive_temperature=0.2)))


def test_one_image_has_no_diversity():
    train = dataclasses.replace(CONFIG.train, batch_size=1)
    networks = Networks(dataclasses.replace(CONFIG, train=train))
    state = jax.eval_shape(lambda key: create_state(CONFIG, key), jax.random.key(0))
    update = functools.partial(updates.discriminator_update, networks)
    _, info = jax.eval_shape(update, state, random_batch(0, 1))
    assert "loss/discriminator" in info and "diversity/generated" not in info


def test_the_average_halves_its_distance_in_a_half_life(state):
    config = dataclasses.replace(
        CONFIG,
        optimizer=dataclasses.replace(CONFIG.optimizer, ema_kimg=BATCH / 1000, ema_rampup=None),
    )
    moved = state.replace(ema=jax.tree.map(lambda p: p + 1, state.generator))
    after = updates.ema_update(Networks(config), moved, BATCH)
    assert_close(after.ema, jax.tree.map(lambda p: p + 0.5, state.generator))


def test_the_average_follows_faster_in_the_beginning(state):
    moved = state.replace(ema=jax.tree.map(lambda p: p + 1, state.generator))
    first = updates.ema_update(NETWORKS, moved, BATCH)
    assert_close(first.ema, state.generator)  # nothing seen yet: a copy
    moved = moved.replace(images_seen=jnp.int32(round(BATCH / 0.05)))
    later = updates.ema_update(NETWORKS, moved, BATCH)
    assert_close(later.ema, jax.tree.map(lambda p: p + 0.5, state.generator))


def test_mean_of_w_moves_by_its_decay(state):
    after, _ = apply(
        "generator_update", state.replace(w_average=jnp.full_like(state.w_average, 9.0))
    )
    zero, _ = apply("generator_update", state.replace(w_average=jnp.zeros_like(state.w_average)))
    beta = CONFIG.optimizer.w_average_beta
    assert_close(after.w_average - zero.w_average, jnp.full_like(state.w_average, 9 * beta))


def test_steps_draw_anew(state):
    one, _ = apply("generator_update", state)
    other, _ = apply("generator_update", state.replace(step=jnp.int32(1)))
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
    """A first step of Adam is the learning rate but for epsilon; its moments decay by the betas."""
    config = tiny_config(**weights)
    options = dataclasses.replace(config.optimizer, beta1=0.5, epsilon=1.0)
    config = dataclasses.replace(config, optimizer=options)
    parameter = jnp.ones(())
    for optimizer, ratio in zip(make_optimizers(config), ratios, strict=True):
        start: Any = optimizer.init(parameter)
        update, memory = optimizer.update(jnp.float32(3.0), start, parameter)
        expected = -options.learning_rate * ratio * 3 / (3 + options.epsilon)
        np.testing.assert_allclose(jnp.asarray(update), expected, rtol=1e-4)
        first, second = jax.tree.leaves(memory)[-2:]
        np.testing.assert_allclose(first, 3 * (1 - 0.5**ratio), rtol=1e-4)
        np.testing.assert_allclose(second, 9 * (1 - 0.99**ratio), rtol=1e-4)


@pytest.mark.parametrize("config", [tiny_config(), FULL], ids=["unconditional", "conditional"])
def test_labels_travel_only_where_they_matter(config):
    """An unconditional network may train on a labeled dataset."""
    programs = gan_programs(config)
    placed = place_batch(labeled_batch(0), programs.trainable.batch, programs.placement.batch)
    expected = batch_shapes(config)
    assert {name: (array.shape, array.dtype) for name, array in placed.items()} == {
        name: (array.shape, array.dtype) for name, array in expected.items()
    }
    assert ("labels" in placed) == bool(config.generator.label_size)


def test_updates_take_labels_only_where_they_matter():
    """As for arrays that a loop places; a dataset may have more than a network uses."""
    for config, needed in ((CONFIG, {"images"}), (conditional(CONFIG), {"images", "labels"})):
        update = gan_updates(config, optimizers=sgd())[0]
        start = jax.eval_shape(lambda c=config: create_state(c, jax.random.key(0), sgd()))
        batch = labeled_batch(0)
        jax.eval_shape(update.function, start, batch)
        for name in needed:
            with pytest.raises(ValueError, match=f"the batch has no {name}: give"):
                jax.eval_shape(update.function, start, {n: batch[n] for n in batch if n != name})


def test_a_step_is_made_of_the_updates_that_are_due():
    config = tiny_config(path_length_weight=1.0, path_length_interval=2, r1_interval=3)
    updates = gan_updates(config)
    assert [len(due_updates(updates, step)) for step in range(7)] == [3, 1, 2, 2, 2, 1, 3]
    assert [update.name for update in due_updates(updates, 6)] == [
        "path_length",
        "r1",
        "adversarial",
    ]
    (only,) = gan_updates(tiny_config(r1_gamma=0.0))
    assert only.name == "adversarial"
    assert only.function.__name__ == "adversarial_update"  # which names the program in profiles


def test_cutoffs():
    keys = jax.random.split(jax.random.key(0), 400)
    always = np.asarray(jax.vmap(lambda key: draw_cutoff(key, 1.0, 5))(keys))
    assert set(always) == {1, 2, 3, 4}
    never = np.asarray(jax.vmap(lambda key: draw_cutoff(key, 0.0, 5))(keys))
    assert set(never) == {5}
    often = np.asarray(jax.vmap(lambda key: draw_cutoff(key, 0.9, 5))(keys))
    assert 0.85 < np.mean(often < 5) < 0.95


@pytest.mark.parametrize(
    ("config", "devices", "message"),
    [
        (tiny_config(), 3, "a multiple of 3 .3 devices., such as 15"),
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
        check_batch(config, devices)
