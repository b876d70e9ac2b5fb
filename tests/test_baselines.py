"""DCGAN and SAGAN: their layers, statistics on any number of devices, and what is refused."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from baselines import baseline_config
from eight_devices import on_eight_devices
from tiny import BATCH, labeled_batch
from training import assert_close, gan_programs, on_host, run_steps, sgd, train_gan

from ganformer_jax import Generator, UserError, load, make_discriminator
from ganformer_jax.config_checks import validate
from ganformer_jax.convert.export import save_generator
from ganformer_jax.models.sagan import ClassBatchNorm, SelfAttention
from ganformer_jax.nn.initialize import as_uniform, initialize, uniform
from ganformer_jax.train.checkpoint import Checkpoints
from ganformer_jax.train.networks import Networks
from ganformer_jax.train.state import create_state

NETWORKS = ["dcgan", "sagan"]


def labeled_batches(images_seen):
    """Endless batches after a number of images."""
    for number in itertools.count(images_seen // BATCH):
        yield labeled_batch(number)


def state_of(config):
    return jax.jit(lambda key: create_state(config, key))(jax.random.key(0))


# Layers


def test_weights_of_a_dcgan_start_as_published():
    config = dataclasses.replace(
        baseline_config("dcgan", 16).generator,
        synthesis=dataclasses.replace(
            baseline_config("dcgan").generator.synthesis, channel_base=512, channel_max=64
        ),
    )
    z, labels = jnp.zeros((1, 1, 8)), jnp.zeros((1, 3))
    variables = jax.jit(lambda: initialize(Generator(config), jax.random.key(0), z, labels))()
    synthesis = variables["params"]["synthesis"]
    kernel = synthesis["convolution_8"]["kernel"]
    assert kernel.shape[:2] == (5, 5) and abs(float(kernel.std()) - 0.02) < 1e-3
    gains = synthesis["batch_norm_8"]["scale"]
    assert abs(float(gains.mean()) - 1) < 0.01 and 0.01 < float(gains.std()) < 0.03
    assert "bias" not in synthesis["convolution_8"] and "bias" in synthesis["convolution_16"]
    assert "batch_norm_16" not in synthesis  # none at the image (section 3)


def test_latents_of_a_dcgan_are_uniform():
    z = jax.random.normal(jax.random.key(0), (100_000,))
    drawn = np.sort(np.asarray(as_uniform(z)))
    assert np.abs(drawn - np.linspace(-1, 1, drawn.size)).max() < 0.01
    kernel = uniform(0.5)(jax.random.key(0), (100_000,))
    assert abs(float(kernel.std()) - 0.5 / math.sqrt(3)) < 0.005
    config = baseline_config("dcgan", labels=False).generator
    variables = on_host(state_of(baseline_config("dcgan", labels=False)).generator_variables())
    z_BxKxD = np.asarray(z[:16]).reshape(2, 1, 8)
    w_BxKxD = Generator(config).apply(variables, z_BxKxD, method="map")
    np.testing.assert_allclose(w_BxKxD, as_uniform(z_BxKxD))


def test_self_attention_of_sagan_by_hand():
    x = jax.random.normal(jax.random.key(0), (2, 4, 6, 16))
    layer = SelfAttention()
    variables = layer.init(jax.random.key(1), x, False)
    np.testing.assert_array_equal(layer.apply(variables, x, False), x)  # gamma starts at 0
    variables["params"]["gamma"] = jnp.asarray(0.7)

    def project(name, x):
        kernel = np.asarray(variables["params"][name]["kernel"])[0, 0]
        u = np.asarray(variables["batch_stats"][name]["u"])
        v = kernel @ u / np.linalg.norm(kernel @ u)
        after = v @ kernel / np.linalg.norm(v @ kernel)
        return np.asarray(x) @ (kernel / (v @ kernel @ after))

    def pooled(x):
        return x.reshape(2, 2, 2, 3, 2, -1).max((2, 4)).reshape(2, 6, -1)

    query, key, value = project("query", x), project("key", x), project("value", x)
    assert query.shape[-1] == 2 and value.shape[-1] == 8
    scores = query.reshape(2, 24, -1) @ pooled(key).transpose(0, 2, 1)
    shares = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    gathered = (shares @ pooled(value)).reshape(2, 4, 6, -1)
    expected = x + 0.7 * project("output", gathered)
    np.testing.assert_allclose(layer.apply(variables, x, False), expected, rtol=1e-4, atol=1e-5)


def test_gain_and_bias_of_the_class():
    x, labels = jax.random.normal(jax.random.key(0), (6, 4, 4, 5)), jnp.eye(3)[jnp.arange(6) % 3]
    layer = ClassBatchNorm()
    variables = layer.init(jax.random.key(1), x, labels, True)
    gain, bias = jax.random.normal(jax.random.key(2), (2, 3, 5))
    variables["params"] = {"gain": gain, "bias": bias}
    found, _ = layer.apply(variables, x, labels, True, mutable=["batch_stats"])
    normal = (x - x.mean((0, 1, 2))[None, None, None]) / jnp.sqrt(
        x.var((0, 1, 2))[None, None, None] + 1e-5
    )
    expected = (
        normal * gain[jnp.arange(6) % 3][:, None, None] + bias[jnp.arange(6) % 3][:, None, None]
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rematerialized_networks_are_equal(network, dtype):
    config = baseline_config(network, 16)
    discriminator = dataclasses.replace(config.discriminator, dtype=dtype)
    images, labels = jnp.ones((2, 16, 16, 3)) * jnp.asarray([0.1, 0.9])[:, None, None, None], None
    labels = jnp.eye(3)[:2]
    variables = make_discriminator(discriminator).init(jax.random.key(0), images, labels)

    def loss(params, again):
        network = make_discriminator(discriminator, rematerialize=again)
        given = {**variables, "params": params}
        logits, _ = network.apply(given, images, labels, train=True, mutable=["batch_stats"])
        assert logits[0].dtype == jnp.float32
        return logits[0].sum()

    plain, again = (
        jax.jit(jax.value_and_grad(lambda p, a=a: loss(p, a)))(variables["params"])
        for a in (False, True)
    )
    assert_close(plain, again, rtol=2e-2 if dtype == "bfloat16" else 2e-4, atol=1e-3)


# Statistics


def weights_of(run):
    with Checkpoints(run, read_only=True) as checkpoints:
        return checkpoints.weights()[0]


@pytest.mark.parametrize("network", NETWORKS)
def test_a_run_resumes_bit_for_bit_and_is_loaded_and_exported_with_its_statistics(
    network, tmp_path
):
    config = baseline_config(network)
    for run, lengths in (("whole", [0.064]), ("halves", [0.032, 0.064])):
        for kimg in lengths:
            train = dataclasses.replace(config.train, total_kimg=kimg)
            once = dataclasses.replace(config, train=train)
            assert train_gan(once, tmp_path / run, labeled_batches)
    weights = weights_of(tmp_path / "whole")
    assert all(jax.tree.leaves(weights["batch_stats"][name]) for name in ("generator", "ema"))
    jax.tree.map(np.testing.assert_array_equal, weights, weights_of(tmp_path / "halves"))

    generator, variables = load(tmp_path / "whole")
    jax.tree.map(
        np.testing.assert_array_equal, variables["batch_stats"], weights["batch_stats"]["ema"]
    )
    z, labels = np.ones((2, 1, 8), np.float32), np.eye(3, dtype=np.float32)[:2]
    images = generator.apply(variables, z, labels)[0]
    alone = generator.apply(variables, z[:1], labels[:1])[0]
    np.testing.assert_allclose(images[:1], alone, atol=1e-5)  # nothing depends on the batch
    save_generator(tmp_path / "file", generator.config, variables)
    same, read = load(tmp_path / "file")
    np.testing.assert_array_equal(same.apply(read, z, labels)[0], images)


def test_running_statistics_of_both_generators_follow_those_of_their_batches():
    config = baseline_config("dcgan")
    programs = gan_programs(config, optimizers=sgd())
    before = on_host(programs.init(jax.random.key(0)))
    after, _ = run_steps(programs, [labeled_batch(0)])
    start = state_of(config)
    networks = Networks(config)
    keys = networks.keys(start, "generator")
    labels = labeled_batch(0)["labels"]
    w_BxKxLxD, _ = networks.sample_w(start.generator, start, keys, labels, BATCH)
    w_BxD = np.asarray(w_BxKxLxD[:, 0, 0])
    first = w_BxD @ np.asarray(start.generator["synthesis"]["dense"]["kernel"])
    first = first.reshape(-1, first.shape[-1] // 4)
    for network in ("generator", "ema"):
        found = after.batch_stats[network]["synthesis"]["batch_norm_2"]
        np.testing.assert_allclose(found["mean"], 0.1 * first.mean(0), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found["var"], 0.9 + 0.1 * first.var(0), rtol=1e-4)
    old, new = (s.batch_stats["discriminator"]["batch_norm_4"]["var"] for s in (before, after))
    # The real images' statistics and the generated ones' have moved it, one after the other.
    assert (np.asarray(new) < 0.9**2 * np.asarray(old) + 0.1).all()


EIGHT = """
from baselines import baseline_config
from sharing import compare_devices

compare_devices(baseline_config("{network}"), parts=1)
print("equal")
"""


@pytest.mark.parametrize("network", NETWORKS)
def test_statistics_are_the_same_on_eight_devices(network):
    assert on_eight_devices(EIGHT.format(network=network)).split()[-1] == "equal"


# What is refused


def changed(config, **values):
    """The experiment with other values, by dotted name with "__" between the parts."""
    for name, value in values.items():
        *parts, last = name.split("__")
        path = [config]
        for part in parts:
            path.append(getattr(path[-1], part))
        for part, owner in zip((last, *parts[::-1]), path[::-1], strict=True):
            value = dataclasses.replace(owner, **{part: value})
        config = value
    return config


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("labels", [True, False])
def test_baselines_are_accepted(network, labels):
    validate(baseline_config(network, labels=labels))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"generator__components": 2}, "generator.components is 2, but a dcgan has 0"),
        ({"generator__synthesis__style": True}, "synthesis.style is True, but a dcgan has False"),
        ({"generator__synthesis__tanh": True}, "synthesis.tanh has no effect"),
        ({"generator__image_attention_resolution": 8}, "attention_resolution has no effect"),
        ({"generator__mapping__num_layers": 2}, "generator.mapping.num_layers has no effect"),
        ({"discriminator__minibatch_stddev_channels": 1}, "is 1, but a dcgan has 0"),
        ({"discriminator__label_logit": "class"}, "a dcgan has projection"),
        ({"discriminator__clamp": 1.0}, "discriminator.clamp has no effect"),
        ({"train__freeze_discriminator": 1}, "no layers of these names"),
        ({"train__accumulate": 2}, "batch normalization needs the whole batch"),
        ({"generator__resolution": 9}, "generator.resolution is 9"),
        ({"generator__synthesis__channel_base": 4}, "leaves no channels"),
    ],
)
def test_options_that_a_dcgan_does_not_have(values, message):
    with pytest.raises(UserError, match=message):
        validate(changed(baseline_config("dcgan"), **values))


@pytest.mark.parametrize(
    ("network", "resolution", "choices"),
    [("generator", 2, "4, 8, 16"), ("discriminator", 16, "2, 4, 8")],
)
def test_where_a_sagan_attends(network, resolution, choices):
    config = baseline_config("sagan", 16)
    values = {f"{network}__image_attention_resolution": resolution}
    with pytest.raises(UserError, match=f"should be one of {choices}"):
        validate(changed(config, **values))
