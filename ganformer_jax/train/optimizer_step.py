"""The step that an update ends with: one network's gradients through its optimizer.

Frozen layers of the discriminator (Freeze-D, Mo et al. 2020, arXiv 2002.10964) get gradients of
zero, which XLA then does not compute, and no updates: an optimizer may make some of zero gradients,
by weight decay or, with an epsilon of 0, by 0 / 0. States have the same structure with and without.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import optax

from ganformer_jax.config import Config
from ganformer_jax.train.networks import Networks
from ganformer_jax.train.state import TrainState, Tree, make_optimizers

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def frozen_layers(config: Config) -> tuple[str, ...]:
    """Return the names of the discriminator's layers that are not trained."""
    count = config.train.freeze_discriminator
    sizes = config.generator.resolutions[::-1][:count]
    return tuple(f"{layer}_{size}" for size in sizes for layer in ("from_image", "block"))


def _without(frozen: Sequence[str], tree: Tree) -> Tree:
    """Return a network's gradients or updates with zeros for frozen layers."""
    if not frozen:
        return tree
    return {
        name: jax.tree.map(jnp.zeros_like, layer) if name in frozen else layer
        for name, layer in tree.items()
    }


def optimizer_step(
    networks: Networks, state: TrainState, network: str, gradients: Tree
) -> tuple[TrainState, Float[Array, ""]]:
    """Average gradients over devices, clip them and apply one network's optimizer.

    Args:
        networks: Networks for the full batch.
        state: State before the step.
        network: "generator" or "discriminator".
        gradients: Gradients of one device's rows of the batch.

    Returns:
        The new state, and the norm of the gradients before clipping.

    Raises:
        ValueError: The optimizer cannot use the memory that the state has of another one.
    """
    frozen = frozen_layers(networks.config) if network == "discriminator" else ()
    gradients = networks.parallel.mean(_without(frozen, gradients))
    params, memory = getattr(state, network), getattr(state, f"{network}_optimizer")
    norm, limit = optax.tree.norm(gradients), networks.config.optimizer.gradient_clip
    if limit is not None:  # a norm that is not finite is in the log, which is checked
        factor = jnp.minimum(1.0, limit / jnp.maximum(norm, 1e-20))
        gradients = jax.tree.map(lambda gradient: gradient * factor, gradients)
    optimizers = networks.optimizers or make_optimizers(networks.config, state.images_seen)
    updates, memory = _updates_of(getattr(optimizers, network), network, gradients, memory, params)
    params = optax.apply_updates(params, _without(frozen, updates))
    return state.replace(**{network: params, f"{network}_optimizer": memory}), norm


def _updates_of(
    optimizer: optax.GradientTransformation,
    network: str,
    gradients: Tree,
    memory: optax.OptState,
    params: Tree,
) -> tuple[Tree, optax.OptState]:
    """Return updates and the optimizer's new memory."""
    try:
        return optimizer.update(gradients, memory, params)
    except (AttributeError, TypeError, ValueError) as error:
        wanted = jax.eval_shape(optimizer.init, params)
        if jax.tree.structure(memory) == jax.tree.structure(wanted):
            raise
        raise ValueError(
            f"{network}_optimizer of the state is of another optimizer: give the same optimizers "
            "to create_state and to the updates"
        ) from error
