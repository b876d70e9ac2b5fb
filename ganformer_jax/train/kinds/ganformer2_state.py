"""The state of a GANformer2 in training, and its optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax

from ganformer_jax.config.ganformer2 import GANformer2Config
from ganformer_jax.models.discriminator import Discriminator
from ganformer_jax.models.executor import Executor
from ganformer_jax.models.planner import Planner
from ganformer_jax.models.segment_discriminator import LayoutReader, SegmentDiscriminator
from ganformer_jax.nn.initialize import initialize
from ganformer_jax.train.kinds.adam import make_adam

if TYPE_CHECKING:
    from jaxtyping import Array, Int, Key

Tree = Any
WEIGHTS = ("ema", "constants")
"""The fields that images are made from."""


class GANformer2State(flax.struct.PyTreeNode):
    """Argument and result of a step, and content of a checkpoint."""

    generators: dict[str, Tree]
    """Parameters of "planner" and "executor"."""
    discriminators: dict[str, Tree]
    """Parameters of the discriminators of "layouts" and "images", and of the "reader" of layouts in
    images."""
    generator_optimizer: optax.OptState
    discriminator_optimizer: optax.OptState
    ema: dict[str, Tree]
    """Moving average of `generators`, the one to sample from."""
    constants: Tree
    """The executor's fixed arrays: constant noise and position grids."""
    step: Int[Array, ""]
    """Steps done."""
    images_seen: Int[Array, ""]
    """Real images shown."""
    key: Key[Array, ""]
    """Each step folds its number into it; a recovery changes it."""


class GANformer2Networks(NamedTuple):
    """The modules of a GANformer2."""

    planner: Planner
    executor: Executor
    layouts: Discriminator
    images: SegmentDiscriminator
    reader: LayoutReader


def make_networks(config: GANformer2Config) -> GANformer2Networks:
    """Return the modules of a config."""
    return GANformer2Networks(
        Planner(config.planning, config.execution.resolution),
        Executor(config.execution, config.planning.segments),
        Discriminator(config.layout_discriminator.network),
        SegmentDiscriminator(config.image_discriminator.network),
        LayoutReader(),
    )


def latent_shapes(config: GANformer2Config, batch: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of structure latents and of style latents; the last style is global."""
    segments = config.planning.segments
    structure = batch, segments, config.planning.latent_size
    return structure, (batch, segments + 1, config.execution.style_size)


def create_ganformer2(config: GANformer2Config, key: Key[Array, ""]) -> GANformer2State:
    """Initialize networks, optimizers and the average; call it under `jax.jit`."""
    networks, (state_key, *keys) = make_networks(config), jax.random.split(key, 6)
    structure, style = (jnp.zeros(shape) for shape in latent_shapes(config, 1))
    size, segments = config.execution.resolution, config.planning.segments
    layout = jnp.zeros((1, size, size, segments))
    images = jnp.zeros((1, size, size, config.execution.image_channels))
    planner = initialize(networks.planner, keys[0], structure, jnp.ones((1, segments)))
    executor = initialize(networks.executor, keys[1], style, layout, "const")
    inputs = {"layouts": (layout,), "images": (images, layout), "reader": (images,)}
    discriminators = {
        name: initialize(getattr(networks, name), own, *arrays)["params"]
        for own, (name, arrays) in zip(keys[2:], inputs.items(), strict=True)
    }
    generators = {"planner": planner["params"], "executor": executor["params"]}
    optimizer = make_adam(config.optimizer)
    return GANformer2State(
        generators=generators,
        discriminators=discriminators,
        generator_optimizer=optimizer.init(generators),
        discriminator_optimizer=optimizer.init(discriminators),
        ema=jax.tree.map(jnp.copy, generators),
        constants=executor["constants"],
        step=jnp.zeros((), jnp.int32),
        images_seen=jnp.zeros((), jnp.int32),
        key=state_key,
    )
