"""Types and precision of training: bfloat16 activations, and matrix products."""

import collections
import dataclasses
import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import FULL, labeled_batch, tiny_config, tiny_generator
from training import gan_programs, run_steps, sgd, train_gan

from ganformer_jax.config.files import load_config
from ganformer_jax.load import load
from ganformer_jax.sampling import Sampler
from ganformer_jax.train.binding import with_matmul_precision
from ganformer_jax.train.updates import gan_updates


def in_type(config, dtype):
    """The same experiment with other activations."""
    generator = dataclasses.replace(config.generator, dtype=dtype)
    discriminator = dataclasses.replace(config.discriminator, dtype=dtype)
    return dataclasses.replace(config, generator=generator, discriminator=discriminator)


def without_path_lengths(config):
    loss = dataclasses.replace(config.loss, path_length_weight=0.0)
    return dataclasses.replace(config, loss=loss)


@functools.cache
def programs_of(dtype, config=FULL):
    return gan_programs(in_type(config, dtype), optimizers=sgd())


def types_of(lowered, operation):
    """Floating-point types, in a lowered program, of the results of an operation."""
    lines = re.findall(rf"stablehlo\.{operation}\b.*", lowered)
    return {re.findall(r"(bf16|f\d\d|i\d+)>", line)[-1] for line in lines} & {"bf16", "f32", "f64"}


@pytest.mark.parametrize("number", [1, 2], ids=["r1", "adversarial"])
def test_what_stays_float32(number):
    """Softmax, normalization, demodulation, standard deviation, losses, and every sum."""
    programs = programs_of("bfloat16")
    function = programs.trainable.updates[number].function
    text = programs.lower(function, programs.abstract_state(), programs.abstract_batch()).as_text()
    assert types_of(text, "convolution") == {"bf16"}
    of_both, of_adversarial = ("sqrt", "divide", "reduce"), ("exponential", "rsqrt", "log_plus_one")
    for operation in of_both if number == 1 else of_both + of_adversarial:
        assert types_of(text, operation) == {"f32"}, operation


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(tiny_config(0), id="without components"),
        pytest.param(without_path_lengths(FULL), id="adversarial", marks=pytest.mark.slow),
        pytest.param(FULL, id="everything", marks=pytest.mark.slow),
    ],
)
def test_losses_in_bfloat16_are_close_to_those_in_float32(config):
    """bfloat16 has 8 bits: a relative error of 2^-9 in each rounding.

    Some states are near where k-means or a rectifier changes sides, so five are compared.
    """
    batches, errors = [labeled_batch(0), labeled_batch(1)], collections.defaultdict(list)
    for seed in range(5):
        (state, infos), (_, expected) = (
            run_steps(programs_of(dtype, config), batches, seed)
            for dtype in ("bfloat16", "float32")
        )
        for leaf in jax.tree.leaves((state, infos)):
            assert np.isfinite(leaf).all() and leaf.dtype != jnp.bfloat16
        for step, (info, exact) in enumerate(zip(infos, expected, strict=True)):
            for name in info:
                scale = np.abs(exact[name]) + (0.0 if "gradient_norm" in name else 0.2)
                errors[step, name].append(abs(info[name] - exact[name]) / scale)
    for (step, name), found in errors.items():  # logits are near 0
        assert np.median(found) < 0.1, (step, name, found)


@pytest.mark.slow
def test_a_run_resumes_in_another_type(tmp_path):
    """Parameters are float32 in both; what is loaded to sample has float32 activations."""
    config = tiny_config(components=0, r1_gamma=0.0)
    lines = []
    for dtype, steps in (("float32", 2), ("bfloat16", 4)):
        kimg = steps * config.train.batch_size / 1000
        train = dataclasses.replace(config.train, total_kimg=kimg)
        changed = in_type(dataclasses.replace(config, train=train), dtype)
        assert train_gan(changed, tmp_path, say=lines.append)
    assert any("resuming" in line for line in lines)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["generator"]["dtype"] == saved["discriminator"]["dtype"] == "bfloat16"
    generator, variables = load(tmp_path)
    assert generator.config == config.generator
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}


def test_images_do_not_depend_on_the_type_in_training():
    generator, variables = tiny_generator(8)
    config = dataclasses.replace(generator.config, dtype="bfloat16")
    expected = Sampler(generator.config, 2).images(variables, [0, 1])
    np.testing.assert_array_equal(Sampler(config, 2).images(variables, [0, 1]), expected)


@pytest.mark.parametrize("precision", ["default", "highest"])
def test_matmul_precision_of_an_update_and_of_its_gradients(precision):
    config = tiny_config(components=0)
    train = dataclasses.replace(config.train, matmul_precision=precision)
    programs = gan_programs(dataclasses.replace(config, train=train))
    (update,) = [u for u in programs.trainable.updates if u.name == "r1"]
    lowered = programs.lower(update.function, programs.abstract_state(), programs.abstract_batch())
    found = re.findall(r"stablehlo\.(?:dot_general|convolution).*", lowered.as_text())
    highest = [line for line in found if "HIGHEST" in line]
    assert found and len(highest) == (len(found) if precision == "highest" else 0)


def test_default_precision_adds_nothing():
    def function(x):
        return x

    assert with_matmul_precision(function, "default") is function
    assert with_matmul_precision(function, "high") is not function
    assert len(gan_updates(tiny_config())) == 2


@pytest.mark.parametrize("name", ["ffhq", "clevr", "bedrooms", "cityscapes"])
def test_configs_for_accelerators_use_bfloat16(name):
    config = load_config(name)
    assert config.generator.dtype == config.discriminator.dtype == "bfloat16"
