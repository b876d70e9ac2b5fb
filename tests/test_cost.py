"""What a step costs, in numbers that do not depend on the machine: operations, programs, memory.

Times are measured in benchmarks/; here a change that makes steps dearer by accident is noticed.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import tiny_config
from training import gan_programs

from ganformer_jax.config import Config
from ganformer_jax.nn.attention import BipartiteAttention, KMeans

UPDATES = ("adversarial", "r1")
pytestmark = pytest.mark.skipif(
    jax.default_backend() != "cpu", reason="XLA counts the operations of programs for CPUs only"
)


@functools.cache
def programs_of(config: Config):
    return gan_programs(config)


@functools.cache
def lowered(config: Config, name: str):
    programs = programs_of(config)
    (update,) = [u for u in programs.trainable.updates if u.name == name]
    return programs.lower(update.function, programs.abstract_state(), programs.abstract_batch())


def sized(resolution: int = 16, components: int = 8, batch: int = 4) -> Config:
    """Channels and components as in practice; nothing is compiled."""
    base = Config()
    channels = {"channel_base": 64 * resolution, "channel_max": 128}
    generator = dataclasses.replace(
        base.generator,
        resolution=resolution,
        components=components,
        latent_size=256,
        attention_resolutions=(4, resolution),
        mapping=dataclasses.replace(
            base.generator.mapping, num_layers=1, self_attention=bool(components)
        ),
        synthesis=dataclasses.replace(base.generator.synthesis, **channels),
    )
    return Config(
        generator=generator,
        discriminator=dataclasses.replace(base.discriminator, **channels),
        train=dataclasses.replace(base.train, batch_size=batch),
    )


def operations(lowering) -> float:
    """Counted before XLA optimizes, so the same with every version; in units of 1e9."""
    analysis = lowering.cost_analysis()
    assert analysis
    return analysis["flops"] / 1e9


def test_operations_of_a_step():
    found = [operations(lowered(sized(), step)) for step in UPDATES]
    np.testing.assert_allclose(found, [2.195, 0.953], rtol=0.02)


def test_attention_costs_a_fiftieth_of_a_step():
    plain, duplex = (operations(lowered(sized(components=k), UPDATES[0])) for k in (0, 8))
    assert plain < duplex < 1.02 * plain


def test_operations_are_linear_in_the_batch():
    few, many = (operations(lowered(sized(batch=batch), "r1")) for batch in (4, 16))
    assert many < 4.02 * few


def layer_operations(kmeans: KMeans | None, elements: int, components: int) -> float:
    """Of one attention layer and its gradients."""
    attention = BipartiteAttention(integration="mul", norm="layer", kmeans=kmeans)
    x, y = jnp.zeros((2, elements, 64)), jnp.zeros((2, components, 32))
    positions = jnp.zeros((elements, 32)), jnp.zeros((components, 32))
    params = jax.eval_shape(lambda: attention.init(jax.random.key(0), x, y, *positions))

    def loss(params, x, y):
        return attention.apply(params, x, y, *positions)[0].sum()

    return operations(jax.jit(jax.grad(loss, (0, 1, 2))).lower(params, x, y))


@pytest.mark.parametrize("kmeans", [None, KMeans()], ids=["simplex", "duplex"])
def test_attention_is_linear_in_pixels_and_in_components(kmeans):
    base = layer_operations(kmeans, 1024, 8)
    assert layer_operations(kmeans, 4096, 8) < 4 * base
    assert layer_operations(kmeans, 1024, 32) < 4 * base


@pytest.mark.parametrize(
    ("step", "instructions", "mebibytes"), [(UPDATES[0], 1792, 0.49), (UPDATES[1], 440, 0.29)]
)
def test_compiled_step(step, instructions, mebibytes):
    """Instructions outside fusions, and temporaries; versions of XLA differ by some of them."""
    program = lowered(tiny_config(), step).compile()
    entry = (program.as_text() or "").split("\nENTRY ")[1].split("\n}")[0]
    memory = program.memory_analysis()
    assert memory
    found = entry.count(" = "), memory.temp_size_in_bytes / 2**20
    assert found[0] < 1.15 * instructions, found
    assert found[1] < 1.15 * mebibytes, found
