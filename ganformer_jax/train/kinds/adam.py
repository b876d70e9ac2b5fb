"""Adam of networks that share one learning rate, and the step that an update ends with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import optax

from ganformer_jax.config.ganformer2 import GANformer2OptimizerConfig
from ganformer_jax.config.prior import PriorOptimizerConfig
from ganformer_jax.config.translation import TranslationOptimizerConfig
from ganformer_jax.train import schedules
from ganformer_jax.train.trainable import Info

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int

Tree = Any
AdamOptions = GANformer2OptimizerConfig | PriorOptimizerConfig | TranslationOptimizerConfig


def make_adam(
    options: AdamOptions,
    images_seen: Int[Array, ""] | None = None,
    weight_decay: float | None = None,
) -> optax.GradientTransformation:
    """Make Adam, behind a limit of the norm of gradients if there is one.

    Args:
        options: Options of the optimizer.
        images_seen: Images seen, for the schedule of the learning rate; by default the rate is the
            option's value.
        weight_decay: Decay of matrices, decoupled from gradients (AdamW, arXiv 1711.05101); None
            for an optimizer whose memory has no place for it.
    """
    rate = _rate(options, images_seen)
    betas: Any = {"b1": options.beta1, "b2": options.beta2, "eps": options.epsilon}
    if weight_decay is None:
        adam = optax.adam(rate, **betas)
    else:
        adam = optax.adamw(rate, **betas, weight_decay=weight_decay, mask=_matrices)
    if options.gradient_clip is None:
        return adam
    return optax.chain(optax.clip_by_global_norm(options.gradient_clip), adam)


def scheduled_rate(options: AdamOptions, images_seen: Int[Array, ""]) -> Info:
    """Return the learning rate after a number of images, to log; nothing if it does not change."""
    if not schedules.changes(options.learning_rate_schedule):
        return {}
    return {"schedule/learning_rate": jnp.float32(_rate(options, images_seen))}


def _rate(options: AdamOptions, images_seen: Int[Array, ""] | None) -> Any:
    return schedules.value(options.learning_rate_schedule, options.learning_rate, images_seen)


def _matrices(params: Tree) -> Tree:
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def apply_gradients(
    optimizer: optax.GradientTransformation, state: Any, network: str, memory: str, gradients: Tree
) -> tuple[Any, Float[Array, ""]]:
    """Apply the gradients of a network, or of several that have one optimizer.

    Args:
        optimizer: The optimizer of these parameters.
        state: State before the step, a flax dataclass.
        network: The field of the parameters.
        memory: The field of the optimizer's own arrays.
        gradients: The gradients, a tree like the parameters.

    Returns:
        The new state, and the norm of the gradients.
    """
    params = getattr(state, network)
    updates, moments = optimizer.update(gradients, getattr(state, memory), params)
    params = optax.apply_updates(params, updates)
    return state.replace(**{network: params, memory: moments}), optax.tree.norm(gradients)
