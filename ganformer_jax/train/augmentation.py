"""The probability of augmentation in training: fixed, by a schedule, or adapted to overfitting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flax.struct
import jax
import jax.numpy as jnp

from ganformer_jax.config import Config
from ganformer_jax.train import schedules

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class AugmentState(flax.struct.PyTreeNode):
    """The state of adaptive augmentation."""

    p: Float[Array, ""]
    """Adaptive probability of a transformation."""
    r_t_sum: Float[Array, ""]
    """Sum of r_t over the steps since p was last changed."""


def initial_augment_state(config: Config) -> AugmentState:
    """Return the state before the first step."""
    return AugmentState(jnp.float32(config.augment.p), jnp.zeros(()))


def probability(config: Config, state: Any) -> float | Float[Array, ""]:
    """Return the probability of a transformation in this step of a `TrainState`."""
    options = config.augment
    if options.mode == "adaptive":
        return state.augment.p
    return schedules.value(options.p_schedule, options.p, state.images_seen)


def adapt(config: Config, state: Any, info: dict[str, jax.Array], count: int) -> Any:
    """Move an adaptive probability toward the wanted r_t, after a discriminator update.

    Every `augment.interval` steps, by a constant amount up if the mean r_t since then was above
    `augment.target`, and down if it was below: Karras et al. 2020 (arXiv 2006.06676), section 3.1.
    The probability stays within [0, 1].

    Args:
        config: The experiment.
        state: A `TrainState`; the step is not counted yet.
        info: What the discriminator update reports, r_t among it.
        count: Images a step.
    """
    options = config.augment
    if not options.transforms or options.mode != "adaptive":
        return state
    total = state.augment.r_t_sum + info["overfitting/r_t"]
    direction = jnp.sign(total / options.interval - options.target)
    change = direction * (count * options.interval / (1000 * options.kimg))
    due = (state.step + 1) % options.interval == 0
    p = jnp.where(due, jnp.clip(state.augment.p + change, 0, 1), state.augment.p)
    return state.replace(augment=AugmentState(p, jnp.where(due, 0, total)))
