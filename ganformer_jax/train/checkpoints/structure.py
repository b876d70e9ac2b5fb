"""The structure of a state: what can be stored, and the leaves that later versions added."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from ganformer_jax.errors import UserError
from ganformer_jax.train.checkpoints.checksums import by_path, has_checksum


def refuse_unstorable(state: Any) -> None:
    """Refuse a state that no checkpoint can hold, before any time is spent on its training.

    Args:
        state: The state, or the shapes and dtypes of its arrays.

    Raises:
        UserError: If an array is empty, or of complex or 64-bit numbers, or two have one path.
    """
    leaves = by_path(state)
    if len(leaves) < len(jax.tree.leaves(state)):
        raise UserError("two arrays of the state have one path: use names without dots")
    for path, leaf in leaves.items():
        what = f"a checkpoint cannot hold {path} of the state, {leaf.dtype} {list(leaf.shape)}"
        if 0 in leaf.shape:
            raise UserError(f"{what}: leave out what is empty")
        if not has_checksum(leaf):
            raise UserError(f"{what}: use real numbers of at most 32 bits")


def added_since(
    where: str,
    version: int,
    current: int,
    added: Mapping[str, int],
    stored: Mapping[str, Any],
    wanted: Mapping[str, Any],
) -> list[str]:
    """List the leaves that later versions added to a state; refuse any other difference.

    Args:
        where: The checkpoint, for messages.
        version: Version of its state.
        current: Version of the state that is wanted.
        added: Beginnings of leaves' paths, and the version that added them.
        stored: Shapes of its leaves by path.
        wanted: Shapes and types of the leaves that are wanted, by path.

    Raises:
        UserError: If it does not fit, or a later version wrote it.
    """
    if version > current:
        later = "was written by a later version of ganformer_jax: install that one"
        raise UserError(f"{where} {later}")

    def since(path: str) -> int:
        return max((v for start, v in added.items() if path.startswith(start)), default=0)

    new = [path for path in wanted if path not in stored]
    wrong = [f"it has no {path}" for path in new if since(path) <= version]
    wrong += [f"it has an unknown {path}" for path in stored if path not in wanted]
    wrong += [
        f"{path} is {tuple(leaf.shape)} there, {_stored_shape(wanted[path])} here"
        for path, leaf in stored.items()
        if path in wanted and tuple(leaf.shape) != _stored_shape(wanted[path])
    ]
    if wrong:
        raise UserError(f"{where} does not fit: {wrong[0]}; choose another --workdir")
    return new


def _stored_shape(leaf: Any) -> tuple[int, ...]:
    """Return the shape in which Orbax stores a leaf: a random key as its words."""
    if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.eval_shape(jax.random.key_data, leaf).shape
    return tuple(leaf.shape)
