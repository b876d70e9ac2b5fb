"""Checksums of arrays, to notice a flipped bit in what was stored."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def checksums(tree: Any) -> dict[str, int]:
    """Map the dotted path of every array to its checksum, computed on its own devices.

    It is the sum of the array's words, each times an odd number of its place, modulo 2^32: it
    changes with any single word, and does not depend on how the array is divided over devices.
    """
    paths = list(by_path(tree))
    return dict(zip(paths, np.asarray(_sums(jax.tree.leaves(tree))).tolist(), strict=True))


@jax.jit
def _sums(leaves: list[jax.Array]) -> jax.Array:
    return jnp.stack(list(map(_sum, leaves)))


def _sum(leaf: jax.Array) -> jax.Array:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[leaf.dtype.itemsize]
    words, place = jax.lax.bitcast_convert_type(leaf, unsigned).astype(jnp.uint32), jnp.uint32(0)
    for axis, size in enumerate(leaf.shape):  # not by ravel, which would gather a divided array
        place = place * size + jax.lax.broadcasted_iota(jnp.uint32, leaf.shape, axis)
    return jnp.sum(words * (2 * place + 1), dtype=jnp.uint32)


def changed(tree: Any, expected: Mapping[str, int]) -> list[str]:
    """List the arrays whose checksum is not the expected one, by dotted path."""
    return [path for path, value in checksums(tree).items() if expected.get(path) != value]


@jax.jit
def all_finite(tree: Any) -> jax.Array:
    """Return whether every floating-point number of a tree is finite, computed on its devices."""
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.stack([jnp.bool_(True), *(jnp.isfinite(leaf).all() for leaf in floats)]).all()


def by_path(tree: Any) -> dict[str, Any]:
    """Map the dotted path of every leaf to the leaf."""
    join = functools.partial(jax.tree_util.keystr, simple=True, separator=".")
    return {join(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
