"""The state of training as one pytree, and the optimizers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax

from ganformer_jax.config import Config
from ganformer_jax.config.checks import require_config
from ganformer_jax.models import Generator, make_discriminator
from ganformer_jax.nn.initialize import initialize
from ganformer_jax.train import schedules
from ganformer_jax.train.augmentation import AugmentState, initial_augment_state

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int, Key

Tree = Any
STATE_VERSION = 2
ADDED_LEAVES = {"augment.": 2}
"""Leaves that a later version of `TrainState` added, by the start of their dotted path, and that
version. Older checkpoints get the values of `create_state`: say so where a leaf is declared."""
WEIGHTS = ("generator", "discriminator", "ema", "constants", "w_average", "batch_stats")
"""The fields that are weights, rather than the progress of a training."""


class TrainState(flax.struct.PyTreeNode):
    """Argument and result of a step, and content of a checkpoint."""

    generator: Tree
    """Trained parameters of the generator, float32."""
    discriminator: Tree
    """Trained parameters of the discriminator, float32."""
    generator_optimizer: optax.OptState
    discriminator_optimizer: optax.OptState
    ema: Tree
    """Moving average of the generator's parameters, the ones to sample from."""
    constants: Tree
    """The generator's fixed arrays: constant noise and position grids."""
    w_average: Float[Array, " d"]
    """Moving average of w over images and latents, which truncation pulls toward."""
    path_length_mean: Float[Array, ""]
    """Moving average of path lengths."""
    step: Int[Array, ""]
    """Steps done."""
    images_seen: Int[Array, ""]
    """Real images shown to the discriminator."""
    key: Key[Array, ""]
    """Each step folds its number into it; a recovery changes it."""
    augment: AugmentState
    """State of adaptive augmentation. Since version 2 of the state; checkpoints without it start
    from `augment.p`."""
    batch_stats: dict[str, Tree]
    """Running statistics and singular vectors of a DCGAN or SAGAN, under "generator",
    "discriminator" and "ema"; without any arrays for other networks."""

    def generator_variables(self, average: bool = True) -> dict[str, Tree]:
        """Return what `Generator.apply` takes, of the averaged or of the trained generator."""
        params, moments = self.ema if average else self.generator, {"w_average": self.w_average}
        variables = {"params": params, "constants": self.constants, "moments": moments}
        return variables | stats_variables(self.batch_stats, "ema" if average else "generator")

    def with_stats(self, network: str, stats: Tree) -> TrainState:
        """Return the state with other "batch_stats" of a network."""
        return self.replace(batch_stats={**self.batch_stats, network: stats})


def stats_variables(batch_stats: Mapping[str, Tree], network: str) -> dict[str, Tree]:
    """Return a network's "batch_stats" as `apply` takes them: no variables if it has none.

    Args:
        batch_stats: The field of a `TrainState`; checkpoints of versions without it have none.
        network: "generator", "discriminator" or "ema".
    """
    stats = batch_stats.get(network)
    return {"batch_stats": stats} if stats else {}


class Optimizers(NamedTuple):
    """One optimizer for each network."""

    generator: optax.GradientTransformation
    discriminator: optax.GradientTransformation


def check_optimizers(optimizers: Optimizers | None) -> None:
    """Raise TypeError for what are not `Optimizers`, such as one optimizer for both networks."""
    if not isinstance(optimizers, Optimizers | None):
        kind = type(optimizers).__name__
        raise TypeError(f"optimizers is a {kind}: give Optimizers(generator, discriminator)")


def make_optimizers(config: Config, images_seen: Int[Array, ""] | None = None) -> Optimizers:
    """Make Adam for both networks, corrected for lazy regularization.

    A network regularized every k steps takes k + 1 updates in k steps, so its learning rate is
    multiplied by c = k / (k + 1) and its decays are raised to c: Karras et al. 2020 (arXiv
    1912.04958), appendix B. Without regularization, or with penalties in the discriminator's loss
    of every step (`r1_interval` 1), there is nothing to correct.

    Args:
        config: The experiment.
        images_seen: Real images seen, which may be traced, for the schedules of the learning rate
            and of beta2; by default these have the option's own value. The structure of the
            optimizers' states is the same.
    """
    loss, options = config.loss, config.optimizer
    initial, schedule = options.learning_rate, options.learning_rate_schedule
    beta2 = schedules.value(options.beta2_schedule, options.beta2, images_seen)

    def adam(rate: float, interval: int) -> optax.GradientTransformation:
        ratio = interval / (interval + 1) if interval else 1.0
        own = schedules.scaled(schedule, initial, rate)
        return optax.adam(
            schedules.value(own, rate, images_seen) * ratio,
            b1=options.beta1**ratio,
            b2=beta2**ratio,
            eps=options.epsilon,
        )

    own_rate = options.discriminator_learning_rate
    return Optimizers(
        adam(initial, loss.path_length_interval if loss.path_length_weight else 0),
        adam(initial if own_rate is None else own_rate, loss.lazy_penalty_interval),
    )


def create_state(
    config: Config, key: Key[Array, ""], optimizers: Optimizers | None = None
) -> TrainState:
    """Initialize networks, optimizers and averages.

    Args:
        config: The experiment.
        key: Decides the weights and, through the state, every later draw.
        optimizers: To train with something other than `make_optimizers(config)`.

    Returns:
        A state no two leaves of which share memory, so that it can be donated. Call this under
        `jax.jit`, which is much faster and places the state where `out_shardings` says.

    Raises:
        TypeError: `config` is not a `Config`, or the optimizers are not `Optimizers`.
    """
    require_config(config)
    check_optimizers(optimizers)
    optimizers = optimizers or make_optimizers(config)
    generator_key, discriminator_key, state_key = jax.random.split(key, 3)
    generator = config.generator
    discriminator = make_discriminator(config.discriminator, generator.base_grid)
    z_1xKxD = jnp.zeros((1, generator.num_latents, generator.z_size))
    images_1xHxWxC = jnp.zeros((1, *generator.image_size, generator.image_channels))
    labels_1xY = jnp.zeros((1, generator.label_size)) if generator.label_size else None
    variables = initialize(Generator(generator), generator_key, z_1xKxD, labels_1xY)
    inputs = images_1xHxWxC, labels_1xY
    discriminator_variables = initialize(discriminator, discriminator_key, *inputs)
    weights, stats = discriminator_variables["params"], variables.get("batch_stats", {})
    return TrainState(
        generator=variables["params"],
        discriminator=weights,
        generator_optimizer=optimizers.generator.init(variables["params"]),
        discriminator_optimizer=optimizers.discriminator.init(weights),
        ema=jax.tree.map(jnp.copy, variables["params"]),
        constants=variables.get("constants", {}),
        w_average=variables["moments"]["w_average"],
        path_length_mean=jnp.zeros(()),
        step=jnp.zeros((), jnp.int32),
        images_seen=jnp.zeros((), jnp.int32),
        key=state_key,
        augment=initial_augment_state(config),
        batch_stats={
            "generator": stats,
            "discriminator": discriminator_variables.get("batch_stats", {}),
            "ema": jax.tree.map(jnp.copy, stats),
        },
    )
