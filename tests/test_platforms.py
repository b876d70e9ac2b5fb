"""Programs take the forms of the platform that they are compiled for, on any host."""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from collectives import Collective
from tpu_process import run_for_a_tpu

from ganformer_jax import (
    Discriminator,
    DiscriminatorConfig,
    Generator,
    GeneratorConfig,
    MappingConfig,
    SynthesisConfig,
    losses,
)

IMAGE = re.compile(r"tensor<\d+x\d+x\d+x\d+xf32>")
CPU_FORMS = re.compile(r"winograd|shifted_filter|_filter_axis")
BATCH, RESOLUTION, CHANNELS = 4, 16, 32  # wide enough for Winograd's form on a CPU


def training_gradients():
    """Gradients of a generator and of R1, with the shapes of their arguments."""
    config = GeneratorConfig(
        resolution=RESOLUTION,
        components=0,
        latent_size=16,
        mapping=MappingConfig(num_layers=1),
        synthesis=SynthesisConfig(channel_base=CHANNELS * RESOLUTION, channel_max=CHANNELS),
    )
    generator = Generator(config)
    discriminator = Discriminator(
        DiscriminatorConfig(channel_base=CHANNELS * RESOLUTION, channel_max=CHANNELS)
    )
    z_BxKxD = jax.ShapeDtypeStruct((BATCH, 1, 16), jnp.float32)
    images_BxHxWxC = jax.ShapeDtypeStruct((BATCH, RESOLUTION, RESOLUTION, 3), jnp.float32)
    key = jax.random.key(0)
    generator_variables = jax.eval_shape(lambda z: generator.init(key, z, noise="const"), z_BxKxD)
    discriminator_variables = jax.eval_shape(
        lambda images: discriminator.init(key, images), images_BxHxWxC
    )

    def loss(generator_variables, discriminator_variables, z_BxKxD, images_BxHxWxC):
        def discriminate(images):
            return discriminator.apply(discriminator_variables, images)[0]

        fakes, _ = generator.apply(generator_variables, z_BxKxD, noise="const")
        adversarial = losses.non_saturating_generator(discriminate(fakes)).mean()
        return adversarial + losses.r1_penalty(discriminate, images_BxHxWxC).mean()

    arguments = generator_variables, discriminator_variables, z_BxKxD, images_BxHxWxC
    return jax.jit(jax.grad(loss, (0, 1))), arguments


def features(text: str) -> dict[str, int]:
    """Count what tells the forms apart, in StableHLO."""
    convolutions = re.findall(r"stablehlo\.convolution.*", text)
    groups = [int(re.findall(r"feature_group_count = (\d+)", line)[0]) for line in convolutions]
    products = re.findall(r"stablehlo\.dot_general.*", text)
    return {
        "depthwise convolutions": sum(count > 1 for count in groups),
        "dilated or strided convolutions": sum(
            "lhs_dilate = [2, 2]" in line or "stride = [2, 2]" in line
            for line, count in zip(convolutions, groups, strict=True)
            if count == 1
        ),
        "products of images": sum(bool(IMAGE.search(line)) for line in products),
    }


@pytest.fixture(scope="module")
def traced():
    function, arguments = training_gradients()
    return function.trace(*arguments)


def test_a_program_for_a_tpu_has_plain_convolutions_only(traced):
    lowered = traced.lower(lowering_platforms=("tpu",))
    text = lowered.as_text()
    found = features(text)
    assert "plain_filter" in lowered.as_text(debug_info=True), "named for benchmarks/tpu.py"
    assert found["depthwise convolutions"] >= 10
    assert found["dilated or strided convolutions"] >= 10
    assert found["products of images"] == 0
    assert not CPU_FORMS.findall(text)


@pytest.mark.parametrize("platform", ["cuda", "rocm"])
def test_a_program_for_a_gpu_filters_by_shifted_additions(traced, platform):
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    found = features(text)
    assert found["depthwise convolutions"] == 0, "cuDNN is slow at them"
    assert found["dilated or strided convolutions"] >= 10
    assert found["products of images"] == 0
    assert set(CPU_FORMS.findall(text)) == {"_filter_axis"}


def test_a_program_for_a_cpu_has_the_forms_of_cpus_only(traced):
    text = traced.lower(lowering_platforms=("cpu",)).as_text()
    found = features(text)
    assert found["depthwise convolutions"] == found["dilated or strided convolutions"] == 0
    assert found["products of images"] >= 16
    assert re.findall(r"winograd", text) and re.findall(r"_filter_axis", text)


STEP_FOR_A_TPU = """
import dataclasses, json
import jax
from jax.experimental import topologies
from collectives import collectives
from ganformer_jax.train.slices import describe_slice
from tiny import tiny_config
from training import gan_programs

devices = describe_slice("v5e:4x4")
one = topologies.get_topology_desc("v5e:1x1", "tpu", chips_per_host_bounds=(1, 1, 1)).devices

def lower(update, fsdp, components, devices=devices, batch_size=16):
    config, wide = tiny_config(components), {"channel_base": 256, "channel_max": 32}
    synthesis = dataclasses.replace(config.generator.synthesis, **wide)
    config = dataclasses.replace(
        config,
        generator=dataclasses.replace(config.generator, synthesis=synthesis),
        discriminator=dataclasses.replace(config.discriminator, **wide),
        train=dataclasses.replace(config.train, batch_size=batch_size),
    )
    programs = gan_programs(config, devices, fsdp=fsdp, sharded_size=512)
    state, batch = programs.abstract_state(), programs.abstract_batch()
    function = {each.name: each.function for each in programs.trainable.updates}[update]
    return programs.lower(function, state, batch), state
"""
PRINT_PROGRAMS = """
import sys

def report(update, fsdp):
    lowered, state = lower(update, fsdp, components=2, batch_size=64)
    program = lowered.compile()
    found = collectives(program.as_text())
    sizes = [sum(leaf.size for leaf in jax.tree.leaves(getattr(state, network)))
             for network in ("generator", "discriminator")]
    report = {
        "sizes": sizes, "collectives": list(map(dataclasses.asdict, found)),
        "operations": program.cost_analysis()["flops"], "text": program.as_text(),
    }
    if fsdp == 1:
        alone = lower(update, 1, 2, one, batch_size=64)[0].compile()
        report["operations of one chip"] = alone.cost_analysis()["flops"]
    return report

found = {name: report(*program) for name, program in json.loads(sys.argv[1]).items()}
# Without components: attention has products of arrays with as many axes as images.
lowered = [lower(update, 1, components=0)[0].as_text() for update in ("adversarial", "r1")]
print(json.dumps({"programs": found, "lowered": lowered}))
"""
PROGRAMS = {"r1": ("r1", 1), "adversarial": ("adversarial", 1), "fsdp": ("adversarial", 4)}


@pytest.fixture(scope="module")
def compiled():
    """Programs of sixteen chips; four have programs in a quicker test below."""
    return json.loads(run_for_a_tpu(STEP_FOR_A_TPU + PRINT_PROGRAMS, json.dumps(PROGRAMS))[0])


@pytest.mark.slow
def test_the_training_step_that_tpus_would_run(compiled):
    for step in compiled["lowered"]:
        found = features(step)
        assert found["depthwise convolutions"] >= 2 and found["products of images"] == 0
        assert not CPU_FORMS.findall(step)
    text = compiled["programs"]["r1"]["text"]
    assert "feature_group_count=32" in text, "the FIR filter is one depthwise convolution"
    assert not CPU_FORMS.findall(text)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["r1", "adversarial"])
def test_a_chip_of_a_slice_does_its_share_of_the_work(compiled, name):
    program = compiled["programs"][name]
    share = program["operations of one chip"] / 16
    assert share <= program["operations"] < 1.05 * share


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_what_the_chips_of_a_slice_send_each_other(compiled, name):
    """The gradients of a network in one sum, and sums of minibatch-stddev groups."""
    networks, count = {
        "r1": (slice(1, 2), 8),
        "adversarial": (slice(0, 2), 10),
        "fsdp": (slice(0, 2), 11),
    }[name]
    program = compiled["programs"][name]
    sizes = program["sizes"]
    found = [Collective(**each) for each in program["collectives"]]
    sums = [one.elements() for one in found if one.kind == "all-reduce"]
    assert len(sums) <= count
    gradients = [size for size in sums if size > 0.9 * min(sizes)]
    for size, parameters in zip(sorted(gradients), sorted(sizes[networks]), strict=True):
        # R1 has none for the last biases; demodulation sums a part of a kernel's by itself.
        assert 0.99 * parameters < size < 1.1 * parameters, "each gradient once"
    others = [one for one in found if one.kind != "all-reduce"]
    assert all(one.kind == "all-gather" for one in others)
    if name != "fsdp":
        assert not others
    else:  # before the update, and the generator again after it
        assert 0 < sum(one.elements() for one in others) <= 2 * sizes[0] + sizes[1] + 512


PRINT_FIGURES = """
import json
from tiny import tiny_config
from tpu import CHIPS, measure
from ganformer_jax.experiment.precompile import lowered_programs
from ganformer_jax.train.devices import place_on
from ganformer_jax.train.slices import describe_slice

programs = lowered_programs(tiny_config(components=2), place_on(describe_slice("v5e:2x2")))
print(json.dumps({name: measure(name, lower, CHIPS["v5e"])[0] for name, lower in programs.items()}))
"""
FIGURES = Path(__file__).parent / "data" / "tpu-figures.json"


def test_operations_memory_and_collectives_stay_as_they_are():
    """What does not depend on the compiler's estimates; a change that is meant changes the file."""
    found, known = json.loads(run_for_a_tpu(PRINT_FIGURES)[0]), json.loads(FIGURES.read_text())
    assert found.keys() == known.keys()
    for name, figures in known.items():
        assert found[name]["collectives"] == figures["collectives"], name
        for figure, within in (("operations", 0.03), ("bytes sent", 0.03), ("temporary GiB", 0.2)):
            assert found[name][figure] == pytest.approx(figures[figure], rel=within), (name, figure)
