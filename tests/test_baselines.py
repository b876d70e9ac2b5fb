"""DCGAN and SAGAN: their layers, statistics on any number of devices, and what is refused."""

import dataclasses
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from baselines import baseline_config, changed
from eight_devices import on_eight_devices
from tiny import BATCH, labeled_batch, random_variables, tiny_config
from training import gan_programs, on_host, run_steps, sgd, train_gan

from ganformer_jax import Discriminator, Generator, UserError, load, make_discriminator
from ganformer_jax.config.checks import validate
from ganformer_jax.convert.export import exported_weights, save_generator
from ganformer_jax.models.sagan import ClassBatchNorm, SelfAttention
from ganformer_jax.nn.initialize import as_uniform, initialize, uniform
from ganformer_jax.nn.spectral import SpectralDense
from ganformer_jax.train.checkpoints.checkpoints import Checkpoints
from ganformer_jax.train.networks import Networks
from ganformer_jax.train.state import WEIGHTS, create_state
from ganformer_jax.train.transfer.start import start_from
from ganformer_jax.train.weights import write_run

NETWORKS = ["dcgan", "sagan"]
ONE_QUICKLY = ["dcgan", pytest.param("sagan", marks=pytest.mark.slow)]


def labeled_batches(images_seen):
    """Endless batches after a number of images."""
    for number in itertools.count(images_seen // BATCH):
        yield labeled_batch(number)


@functools.cache
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
    np.testing.assert_allclose(w_BxKxD, as_uniform(z_BxKxD), rtol=1e-6)


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
    x, classes = jax.random.normal(jax.random.key(0), (6, 4, 4, 5)), np.arange(6) % 3
    layer, labels = ClassBatchNorm(), jnp.eye(3)[classes]
    variables = layer.init(jax.random.key(1), x, labels, True)
    apply = jax.jit(lambda v, y: layer.apply(v, x, y, True, mutable=["batch_stats"])[0])
    x = np.asarray(x)
    normal = (x - x.mean((0, 1, 2), keepdims=True)) / np.sqrt(
        x.var((0, 1, 2), keepdims=True) + 1e-5
    )
    for start in (labels, jnp.zeros_like(labels)):  # conditions may be zeros
        np.testing.assert_allclose(apply(variables, start), normal, rtol=1e-4, atol=1e-5)
    gain, bias = np.random.default_rng(0).standard_normal((2, 3, 5)).astype(np.float32)
    variables["params"] = {"gain": gain, "bias": bias}
    expected = normal * (1 + gain)[classes][:, None, None] + bias[classes][:, None, None]
    np.testing.assert_allclose(apply(variables, labels), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
def test_one_hot_labels_of_integers_are_those_of_floats(network):
    discriminator = make_discriminator(baseline_config(network).discriminator, (2, 2))
    images, labels = jax.random.normal(jax.random.key(1), (3, 8, 8, 3)), jnp.eye(3)
    variables = random_variables(lambda: discriminator.init(jax.random.key(0), images, labels))
    run = jax.jit(lambda labels: discriminator.apply(variables, images, labels)[0])
    np.testing.assert_allclose(run(labels.astype(jnp.int32)), run(labels), rtol=1e-5)


def test_spectral_layers_refuse_integers():
    """Their weights would be rounded to integers too."""
    with pytest.raises(TypeError, match="dense layer of int32"):
        SpectralDense(2).init(jax.random.key(0), jnp.ones((1, 3), jnp.int32), train=False)


@pytest.mark.parametrize("network", ONE_QUICKLY)
@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_rematerialized_networks_are_equal(network, dtype):
    config = baseline_config(network)
    config = changed(config, generator__dtype=dtype, discriminator__dtype=dtype)
    images, labels = jax.random.normal(jax.random.key(1), (2, 8, 8, 3)), jnp.eye(3)[:2]
    z_2x1x8 = jax.random.normal(jax.random.key(2), (2, 1, 8))
    for kind, inputs in (("generator", z_2x1x8), ("discriminator", images)):
        plain, again = (
            Generator(config.generator, remat)
            if kind == "generator"
            else make_discriminator(config.discriminator, (2, 2), remat)
            for remat in (False, True)
        )
        variables = jax.jit(plain.init)(jax.random.key(0), inputs, labels)

        def loss(params, module, inputs=inputs, variables=variables):
            given = {**variables, "params": params}
            options = {"train": True, "mutable": ["batch_stats"]}
            (out, _), changed = module.apply(given, inputs, labels, **options)
            assert out.dtype == jnp.float32
            return jnp.sin(out).sum(), changed

        found, expected = (
            jax.jit(jax.value_and_grad(lambda p, m=m: loss(p, m), has_aux=True))(
                variables["params"]
            )
            for m in (again, plain)
        )
        difference = jax.tree.map(np.subtract, *jax.device_get((found, expected)))
        allowed = 0.05 if dtype == "bfloat16" else 1e-4
        assert norm_of(difference) < allowed * norm_of(expected)


def norm_of(tree):
    return np.sqrt(sum(np.square(leaf, dtype=np.float64).sum() for leaf in jax.tree.leaves(tree)))


# Statistics


def weights_of(run):
    with Checkpoints(run, read_only=True) as checkpoints:
        return checkpoints.weights()[0]


@pytest.mark.parametrize("network", ONE_QUICKLY)
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
    apply = jax.jit(generator.apply)
    images = apply(variables, z, labels)[0]
    alone = apply(variables, z[:1], labels[:1])[0]
    np.testing.assert_allclose(images[:1], alone, atol=1e-5)  # nothing depends on the batch
    save_generator(tmp_path / "file", generator.config, variables)
    same, read = load(tmp_path / "file")
    np.testing.assert_array_equal(jax.jit(same.apply)(read, z, labels)[0], images)


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
    assert (np.asarray(new) < 0.85 * np.asarray(old)).all()  # one update alone leaves 0.9


EIGHT = """
import jax
from baselines import baseline_config, changed
from sharing import compare_devices
from tiny import labeled_batch
from training import assert_close, gan_programs, run_steps, sgd

config = changed(baseline_config("{network}"), loss__r1_gamma=1.0)
compare_devices(config, parts=1)
one = run_steps(gan_programs(config, jax.devices()[:1], sgd()), [labeled_batch(0)])
divided = run_steps(gan_programs(config, jax.devices(), sgd(), fsdp=4), [labeled_batch(0)])
assert_close(one, divided)
print("equal")
"""


@pytest.mark.slow
@pytest.mark.parametrize("network", ONE_QUICKLY)
def test_statistics_are_the_same_on_eight_devices(network):
    assert on_eight_devices(EIGHT.format(network=network)).split()[-1] == "equal"


def test_truncation_scales_z_and_keeps_the_label():
    config = baseline_config("sagan").generator
    variables = on_host(state_of(baseline_config("sagan")).generator_variables())
    variables["moments"] = {"w_average": np.full(config.w_size, 0.5, np.float32)}
    generator, z = Generator(config), np.ones((1, 1, 8), np.float32)
    labels = np.eye(3, dtype=np.float32)[:1]
    images, _ = generator.apply(variables, z, labels, truncation_psi=0.2)
    w_BxKxLxD = np.concatenate([np.full(8, 0.6), labels[0]])[None, None, None]
    expected, _ = generator.apply(variables, w_BxKxLxD.astype(np.float32), method="synthesize")
    np.testing.assert_allclose(images, expected, atol=1e-5)


# Weights of other runs


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("labels", [True, False])
def test_an_export_becomes_a_run(network, labels, tmp_path):
    config = baseline_config(network, labels=labels)
    variables = on_host(state_of(config).generator_variables())
    save_generator(tmp_path / "file", config.generator, variables)
    weights, described = exported_weights(tmp_path / "file")
    write_run(tmp_path / "run", described, weights, "file")
    _, read = load(tmp_path / "run")
    assert read.keys() == variables.keys()
    for name, tree in read.items():
        jax.tree.map(np.testing.assert_array_equal, tree, variables[name])


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("classes", [2, 5, 0])
def test_a_run_starts_from_other_classes(network, classes):
    there = baseline_config(network)
    kind = "projection" if classes else "class"
    here = changed(there, generator__label_size=classes, discriminator__label_logit=kind)
    weights = {name: on_host(getattr(state_of(there), name)) for name in WEIGHTS}
    transfer = start_from(weights, there, here, "there")
    state = on_host(transfer.put(state_of(here)))
    output = state.discriminator["output"]["kernel"]
    np.testing.assert_array_equal(output, weights["discriminator"]["output"]["kernel"])
    if classes:
        embedding = weights["discriminator"]["label_embedding"]["kernel"]
        found = state.discriminator["label_embedding"]["kernel"]
        np.testing.assert_array_equal(found[:2], embedding[:2])
        if classes > 3:
            np.testing.assert_allclose(found[3:], np.tile(embedding.mean(0), (2, 1)), atol=1e-6)
    if network == "dcgan":
        stats = weights["batch_stats"]
        jax.tree.map(np.testing.assert_array_equal, state.batch_stats, stats)
        z_size = there.generator.z_size
        old, new = (each["synthesis"]["dense"]["kernel"] for each in (weights["ema"], state.ema))
        kept = z_size + min(classes, 3)
        np.testing.assert_array_equal(new[:kept], old[:kept])
        assert len(new) == z_size + classes


def test_a_run_starts_from_other_image_channels_and_other_networks():
    there = baseline_config("sagan", labels=False)
    weights = {name: on_host(getattr(state_of(there), name)) for name in WEIGHTS}
    for channels in (1, 4):
        here = changed(there, generator__image_channels=channels)
        transfer = start_from(weights, there, here, "there")
        assert "generator.synthesis.to_image.kernel" not in transfer.leaves
        assert "generator.synthesis.to_image.bias" not in transfer.leaves
    with pytest.raises(UserError, match="too little in common"):
        start_from(weights, there, tiny_config(0), "there")


# What is refused


def test_the_class_discriminator_is_one_network():
    config = baseline_config("dcgan").discriminator
    with pytest.raises(ValueError, match="config.network is dcgan: call make_discriminator"):
        Discriminator(config).init(jax.random.key(0), jnp.zeros((4, 8, 8, 3)))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("labels", [True, False])
def test_baselines_are_accepted(network, labels):
    validate(baseline_config(network, labels=labels))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"generator__components": 2},
            "generator.components is 2, but generator.network dcgan needs 0",
        ),
        (
            {"generator__synthesis__style": True},
            "synthesis.style is True, but generator.network dcgan needs False",
        ),
        (
            {"generator__synthesis__tanh": True},
            "synthesis.tanh is True, which generator.network dcgan does not",
        ),
        (
            {"generator__image_attention_resolution": 8},
            "attention_resolution is 8, which .* set it to None",
        ),
        (
            {"generator__mapping__num_layers": 2},
            "generator.mapping.num_layers is 2, .* set it to 4",
        ),
        (
            {"discriminator__minibatch_stddev_channels": 1},
            "is 1, but discriminator.network dcgan needs 0",
        ),
        ({"discriminator__label_logit": "class"}, "dcgan needs projection"),
        ({"discriminator__clamp": 1.0}, "discriminator.clamp is 1.0, .* set it to None"),
        ({"train__freeze_discriminator": 1}, "freezing is not implemented"),
        ({"train__accumulate": 2}, "batch normalization needs the full batch"),
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
