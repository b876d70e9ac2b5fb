"""The first layer of a GAN whose activations or gradients are not finite."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganformer_jax import losses
from ganformer_jax.train.networks import Networks
from ganformer_jax.train.state import TrainState, Tree
from ganformer_jax.train.trainable import Batch


def first_non_finite(networks: Networks, state: TrainState, batch: Batch) -> str:
    """Name what is not finite first: a weight, an activation or a gradient; "" if all is.

    Activations are looked at in the order in which they are computed, gradients from the last
    layer back.
    """
    for name in ("generator", "discriminator"):
        for path, leaf in jax.tree_util.tree_leaves_with_path(getattr(state, name)):
            if not bool(jnp.isfinite(leaf).all()):
                return f"weight {name}/{_words(path)}"
    fakes, logits = _networks(networks, batch)
    images_BxHxWxC = jax.jit(fakes)(state.generator, state)
    for network, function, *arguments in (
        ("generator", fakes, state.generator, state),
        ("discriminator", logits, state.discriminator, images_BxHxWxC),
    ):
        names, flags = _watched(function, *arguments)
        for name, finite in zip(names, flags, strict=True):
            if not finite:
                return f"output of {network}/{name}"
    loss = networks.config.loss

    def generator_loss(params: Tree) -> jax.Array:
        logits_Bx1 = logits(state.discriminator, fakes(params, state))
        return losses.GENERATOR_LOSSES[loss.generator](logits_Bx1).mean()

    def discriminator_loss(params: Tree) -> jax.Array:
        logits_Bx1 = logits(params, images_BxHxWxC), logits(params, networks.images(batch))
        reals = functools.partial(logits, params)
        penalty_B = losses.r1_penalty(reals, networks.images(batch))
        return sum(logits_Bx1, penalty_B.mean()).mean()

    for network, function in (
        ("discriminator", discriminator_loss),
        ("generator", generator_loss),
    ):
        gradients = jax.jit(jax.grad(function))(getattr(state, network))
        for path, leaf in reversed(jax.tree_util.tree_leaves_with_path(gradients)):
            if not bool(jnp.isfinite(leaf).all()):
                return f"gradient of {network}/{_words(path)}"
    return ""


def _networks(networks: Networks, batch: Batch) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the generator as the discriminator's update runs it, and the discriminator."""
    labels, count = networks.labels(batch), networks.batch_size(batch)

    def fakes(params: Tree, state: TrainState) -> jax.Array:
        keys = networks.keys(state, "discriminator")
        w_BxKxLxD, _ = networks.sample_w(params, state, keys, labels, count)
        return networks.synthesize(params, state, keys, w_BxKxLxD)

    def logits(params: Tree, images_BxHxWxC: jax.Array) -> jax.Array:
        return networks.discriminate(params, images_BxHxWxC, labels)

    return fakes, logits


def _watched(function: Callable[..., Any], *arguments: Any) -> tuple[list[str], Any]:
    """Return the modules that a function calls, in order, and whether their outputs are finite."""
    names: list[str] = []

    def run(*arguments: Any) -> list[jax.Array]:
        flags: list[jax.Array] = []

        def look(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
            out = call(*args, **kwargs)
            arrays = [x for x in jax.tree.leaves(out) if isinstance(x, jax.Array)]
            arrays = [x for x in arrays if jnp.issubdtype(x.dtype, jnp.floating)]
            if context.method_name == "__call__" and arrays:
                names.append("/".join(context.module.path))
                flags.append(jnp.stack([jnp.isfinite(x).all() for x in arrays]).all())
            return out

        with nn.intercept_methods(look):
            function(*arguments)
        return flags

    flags = jax.device_get(jax.jit(run)(*arguments))
    return names, flags


def _words(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
