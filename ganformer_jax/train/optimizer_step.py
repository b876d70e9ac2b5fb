"""The step that an update ends with: one network's gradients through its optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import optax

from ganformer_jax.train.networks import Networks
from ganformer_jax.train.state import TrainState, Tree, make_optimizers

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def optimizer_step(
    networks: Networks, state: TrainState, network: str, gradients: Tree
) -> tuple[TrainState, Float[Array, ""]]:
    """Average gradients over devices, clip them and apply one network's optimizer.

    Args:
        networks: Of the whole batch.
        state: Before the step.
        network: "generator" or "discriminator".
        gradients: Those of one device's share of the batch.

    Returns:
        The new state, and the norm of the gradients before clipping.
    """
    gradients = networks.parallel.mean(gradients)
    params, memory = getattr(state, network), getattr(state, f"{network}_optimizer")
    norm, limit = optax.tree.norm(gradients), networks.config.optimizer.gradient_clip
    if limit is not None:  # a norm that is not finite makes every gradient so
        factor = jnp.minimum(1.0, limit / jnp.maximum(norm, 1e-20))
        gradients = jax.tree.map(lambda gradient: gradient * factor, gradients)
    optimizers = networks.optimizers or make_optimizers(networks.config, state.images_seen)
    updates, memory = getattr(optimizers, network).update(gradients, memory, params)
    params = optax.apply_updates(params, updates)
    return state.replace(**{network: params, f"{network}_optimizer": memory}), norm
