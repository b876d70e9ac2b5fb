"""Gradient accumulation: the gradients of a batch, computed by one microbatch after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ganformer_jax.nn.microbatch import Microbatch
from ganformer_jax.train.networks import Networks
from ganformer_jax.train.state import Tree
from ganformer_jax.train.trainable import Batch

MicrobatchFunction = Callable[[Networks, Batch], tuple[Any, Tree]]


def accumulate(
    networks: Networks, params: Tree, batch: Batch, function: MicrobatchFunction
) -> tuple[Any, Tree]:
    """Average values and gradients over `train.accumulate` microbatches.

    They are those of the full batch, if they are means over its images: a microbatch draws what the
    full batch would for its images, and contains the groups of the minibatch standard deviation
    undivided (`Microbatch`).

    Args:
        networks: Networks for the full batch.
        params: The parameters that the gradients belong to.
        batch: Arrays [B, ...]; under a mapped axis, the share of one device.
        function: Takes one microbatch: its networks, which draw for it, and its images and labels;
            returns values, a tree of arrays, and gradients.

    Returns:
        Means of the values and of the gradients.
    """
    count = networks.config.train.accumulate
    if count == 1:
        return function(*_microbatch(networks, batch, 0))

    def add(total: Tree, index: jax.Array) -> tuple[Tree, Any]:
        values, gradients = function(*_microbatch(networks, batch, index))
        return jax.tree.map(jnp.add, total, gradients), values

    zeros = jax.tree.map(jnp.zeros_like, params)
    total, values = lax.scan(add, zeros, jnp.arange(count))
    values = jax.tree.map(lambda stacked: stacked.mean(0), values)
    return values, jax.tree.map(lambda gradient: gradient / count, total)


def microbatches(networks: Networks, batch: Batch) -> Iterator[tuple[Networks, Batch]]:
    """Yield every microbatch: its networks, and its images and labels."""
    for index in range(networks.config.train.accumulate):
        yield _microbatch(networks, batch, index)


def _microbatch(networks: Networks, batch: Batch, index: int | jax.Array) -> tuple[Networks, Batch]:
    """Return one microbatch, divided over the devices."""
    microbatch = Microbatch(index, networks.config.train.accumulate)
    taken = jax.tree.map(microbatch.take, batch)
    return dataclasses.replace(networks, microbatch=microbatch), networks.parallel.constrain_batch(
        taken
    )
