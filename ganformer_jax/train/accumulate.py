"""Gradient accumulation: a batch in parts, one after the other, with the gradients of the whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ganformer_jax.nn.rows import Rows
from ganformer_jax.train.networks import Networks
from ganformer_jax.train.state import Tree
from ganformer_jax.train.trainable import Batch

PartFunction = Callable[[Networks, Batch], tuple[Any, Tree]]


def accumulate(
    networks: Networks, params: Tree, batch: Batch, function: PartFunction
) -> tuple[Any, Tree]:
    """Average values and gradients over the parts of a batch, whose number is `train.accumulate`.

    They are those of the whole batch, if they are means over its images: draws of a part are those
    of the whole batch, and groups of the minibatch standard deviation stay whole (`Rows`).

    Args:
        networks: For the whole batch.
        params: What the gradients are of.
        batch: Arrays [B, ...]; under a mapped axis, the share of one device.
        function: Takes one part: its networks, which draw for it, and its images and labels;
            returns values, a tree of arrays, and gradients.

    Returns:
        Means of the values and of the gradients.
    """
    parts = networks.config.train.accumulate
    if parts == 1:
        return function(*_part(networks, batch, 0))

    def add(total: Tree, index: jax.Array) -> tuple[Tree, Any]:
        values, gradients = function(*_part(networks, batch, index))
        return jax.tree.map(jnp.add, total, gradients), values

    zeros = jax.tree.map(jnp.zeros_like, params)
    total, values = lax.scan(add, zeros, jnp.arange(parts))
    values = jax.tree.map(lambda stacked: stacked.mean(0), values)
    return values, jax.tree.map(lambda gradient: gradient / parts, total)


def parts_of(networks: Networks, batch: Batch) -> Iterator[tuple[Networks, Batch]]:
    """Yield every part of a batch: its networks, and its images and labels."""
    for index in range(networks.config.train.accumulate):
        yield _part(networks, batch, index)


def _part(networks: Networks, batch: Batch, index: int | jax.Array) -> tuple[Networks, Batch]:
    """Return one part of a batch, divided over the devices."""
    rows = Rows(index, networks.config.train.accumulate)
    part = dataclasses.replace(networks, rows=rows)
    return part, networks.parallel.divide(jax.tree.map(rows.take, batch))
