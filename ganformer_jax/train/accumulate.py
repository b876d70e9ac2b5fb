"""Gradient accumulation: a batch in parts, one after the other, with the gradients of the whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ganformer_jax.nn.rows import Rows
from ganformer_jax.train.networks import Networks
from ganformer_jax.train.state import Tree

PartFunction = Callable[[Networks], tuple[Any, Tree]]


def accumulate(networks: Networks, params: Tree, function: PartFunction) -> tuple[Any, Tree]:
    """Average values and gradients over the parts of a batch, whose number is `train.accumulate`.

    They are those of the whole batch, if they are means over its images: draws of a part are those
    of the whole batch, and groups of the minibatch standard deviation stay whole (`Rows`).

    Args:
        networks: For the whole batch.
        params: What the gradients are of.
        function: Takes the networks of one part, which have its rows of the batch and its draws;
            returns values, a tree of arrays, and gradients.

    Returns:
        Means of the values and of the gradients.
    """
    parts = networks.config.train.accumulate
    if parts == 1:
        return function(networks)

    def add(total: Tree, index: jax.Array) -> tuple[Tree, Any]:
        part = dataclasses.replace(networks, rows=Rows(index, parts))
        values, gradients = function(part)
        return jax.tree.map(jnp.add, total, gradients), values

    zeros = jax.tree.map(jnp.zeros_like, params)
    total, values = lax.scan(add, zeros, jnp.arange(parts))
    values = jax.tree.map(lambda stacked: stacked.mean(0), values)
    return values, jax.tree.map(lambda gradient: gradient / parts, total)


def parts_of(networks: Networks) -> list[Networks]:
    """Return the networks of every part of a batch, to use one after the other."""
    parts = networks.config.train.accumulate
    rows = [Rows(index, parts) for index in range(parts)]
    return [dataclasses.replace(networks, rows=part) for part in rows]
