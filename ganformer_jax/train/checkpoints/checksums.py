"""Checksums of arrays, to notice a flipped bit in what was stored."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32}


def has_checksum(leaf: Any) -> bool:
    """Return whether an array has a checksum: random keys, and real numbers of at most 32 bits."""
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    is_complex = jnp.issubdtype(leaf.dtype, jnp.complexfloating)
    return is_key or (leaf.dtype.itemsize in _UNSIGNED and not is_complex)


def checksums(tree: Any) -> dict[str, int]:
    """Map the dotted path of every array to its checksum.

    It is the sum of the array's words, each times an odd number of its place, modulo 2^32: it
    changes with any single word, and does not depend on how the array is divided over devices.
    Accelerators and other processes compute it where the array is; what this host holds needs no
    program, whose compilation would take far longer.
    """
    leaves = jax.tree.leaves(tree)
    sums = map(_sum_on_host, leaves) if _on_host(leaves) else np.asarray(_sums(leaves)).tolist()
    return dict(zip(by_path(tree), sums, strict=True))


def all_finite(tree: Any) -> bool:
    """Return whether every floating-point number of a tree is finite, computed likewise."""
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    if _on_host(floats):
        return all(np.isfinite(np.asarray(leaf)).all() for leaf in floats)
    return bool(_all_finite(floats))


def _on_host(leaves: Sequence[Any]) -> bool:
    """Return whether arrays are in this host's memory, and whole."""

    def near(leaf: Any) -> bool:
        if not isinstance(leaf, jax.Array):
            return True
        whole = leaf.is_fully_addressable
        return whole and all(device.platform == "cpu" for device in leaf.devices())

    return all(map(near, leaves))


def _sum_on_host(leaf: Any) -> int:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    words = np.atleast_1d(np.asarray(leaf)).ravel()
    words = words.view(_UNSIGNED[words.itemsize]).astype(np.uint32)
    odd = 2 * np.arange(words.size, dtype=np.uint32) + 1
    return int(np.sum(words * odd, dtype=np.uint32))


@jax.jit
def _sums(leaves: list[jax.Array]) -> jax.Array:
    return jnp.stack(list(map(_sum, leaves)))


def _sum(leaf: jax.Array) -> jax.Array:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    if leaf.dtype == bool:  # which jax does not reinterpret
        leaf = leaf.astype(jnp.uint8)
    unsigned = _UNSIGNED[leaf.dtype.itemsize]
    words, place = jax.lax.bitcast_convert_type(leaf, unsigned).astype(jnp.uint32), jnp.uint32(0)
    for axis, size in enumerate(leaf.shape):  # not by ravel, which would gather a divided array
        place = place * size + jax.lax.broadcasted_iota(jnp.uint32, leaf.shape, axis)
    return jnp.sum(words * (2 * place + 1), dtype=jnp.uint32)


@jax.jit
def _all_finite(floats: list[jax.Array]) -> jax.Array:
    return jnp.stack([jnp.bool_(True), *(jnp.isfinite(leaf).all() for leaf in floats)]).all()


def changed(tree: Any, expected: Mapping[str, int]) -> list[str]:
    """List the arrays whose checksum is not the expected one, by dotted path."""
    return [path for path, value in checksums(tree).items() if expected.get(path) != value]


def by_path(tree: Any) -> dict[str, Any]:
    """Map the dotted path of every leaf to the leaf."""
    join = functools.partial(jax.tree_util.keystr, simple=True, separator=".")
    return {join(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
