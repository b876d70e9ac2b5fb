"""The first layer of a GAN whose activations or gradients are not finite."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganformer_jax.train.label_losses import labels_to_contrast, with_other_labels
from ganformer_jax.train.networks import Networks
from ganformer_jax.train.objectives import discriminator_objective, generator_objective
from ganformer_jax.train.state import TrainState, Tree
from ganformer_jax.train.trainable import Batch


def first_non_finite(networks: Networks, state: TrainState, batch: Batch) -> str:
    """Name what is not finite first: a weight, an activation or a gradient; "" if all is.

    Activations are looked at in the order in which they are computed, gradients from the last
    layer back.

    Args:
        networks: Networks for the full batch, or for one microbatch.
        state: State before the step.
        batch: Images, uint8 [B, H, W, C], and labels [B, Y] of that part, on the devices.
    """
    for name in ("generator", "discriminator"):
        for path, leaf in jax.tree_util.tree_leaves_with_path(getattr(state, name)):
            if not bool(jnp.isfinite(leaf).all()):
                return f"weight {name}/{_words(path)}"
    # A compiled function cannot close over arrays of several processes: all are arguments.
    fakes, logits = functools.partial(_fakes, networks), functools.partial(_logits, networks)
    images_BxHxWxC = jax.jit(fakes)(state.generator, state, batch)
    for network, function, *arguments in (
        ("generator", fakes, state.generator, state, batch),
        ("discriminator", logits, state.discriminator, state, images_BxHxWxC, batch),
    ):
        names, flags = _watched(function, *arguments)
        for name, finite in zip(names, flags, strict=True):
            if not finite:
                return f"output of {network}/{name}"
    for network, loss, *arguments in (
        ("discriminator", _discriminator_loss, state, images_BxHxWxC, batch),
        ("generator", _generator_loss, state, batch),
    ):
        gradient = jax.jit(jax.grad(functools.partial(loss, networks)))
        gradients = gradient(getattr(state, network), *arguments)
        for path, leaf in reversed(jax.tree_util.tree_leaves_with_path(gradients)):
            if not bool(jnp.isfinite(leaf).all()):
                return f"gradient of {network}/{_words(path)}"
    return ""


def _fakes(networks: Networks, params: Tree, state: TrainState, batch: Batch) -> jax.Array:
    """Generate images as the discriminator's update does."""
    keys, count = networks.keys(state, "discriminator"), _count(networks, batch)
    w_BxKxLxD, _ = networks.sample_w(params, state, keys, batch.get("labels"), count)
    return networks.synthesize(params, state, keys, w_BxKxLxD)


def _count(networks: Networks, batch: Batch) -> int:
    return len(batch["images"]) * networks.microbatch.count


def _logits(
    networks: Networks, params: Tree, state: TrainState, images_BxHxWxC: jax.Array, batch: Batch
) -> jax.Array:
    """Return the logits of images; labels that they are compared with are those of this part."""
    key, labels_BxY = networks.keys(state, "discriminator")["augment_fake"], batch.get("labels")
    output = networks.discriminate_with_output(
        params,
        state,
        key,
        images_BxHxWxC,
        labels_BxY=labels_BxY,
        count=_count(networks, batch),
        others_NxY=labels_to_contrast(networks, batch),
    )
    return output.logits_Bx1


def _generator_loss(networks: Networks, params: Tree, state: TrainState, batch: Batch) -> jax.Array:
    """Return the loss of the generator."""
    loss, _ = generator_objective(
        networks,
        params,
        state,
        keys=networks.keys(state, "generator"),
        reals=batch,
        count=_count(networks, batch),
        every_label_NxY=labels_to_contrast(networks, batch),
    )
    return loss


def _discriminator_loss(
    networks: Networks, params: Tree, state: TrainState, fakes_BxHxWxC: jax.Array, batch: Batch
) -> jax.Array:
    """Return the loss of the discriminator with penalties, also where these are lazy."""
    loss, _ = discriminator_objective(
        networks,
        params,
        state,
        keys=networks.keys(state, "discriminator"),
        reals=with_other_labels(networks, batch),
        fakes_BxHxWxC=fakes_BxHxWxC,
        count=_count(networks, batch),
        every_label_NxY=labels_to_contrast(networks, batch),
        penalized=True,
    )
    return loss


def _watched(function: Callable[..., Any], *arguments: Any) -> tuple[list[str], Any]:
    """Return the modules that a function calls, in order, and whether their outputs are finite."""
    names: list[str] = []

    def run(*arguments: Any) -> list[jax.Array]:
        flags: list[jax.Array] = []

        def record(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
            out = call(*args, **kwargs)
            arrays = [x for x in jax.tree.leaves(out) if isinstance(x, jax.Array)]
            arrays = [x for x in arrays if jnp.issubdtype(x.dtype, jnp.floating)]
            if context.method_name == "__call__" and arrays:
                names.append("/".join(context.module.path))
                flags.append(jnp.stack([jnp.isfinite(x).all() for x in arrays]).all())
            return out

        with nn.intercept_methods(record):
            function(*arguments)
        return flags

    flags = jax.device_get(jax.jit(run)(*arguments))
    return names, flags


def _words(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
