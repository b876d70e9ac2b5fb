"""Work that processes share, and what they must agree on."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from ganformer_jax.errors import UserError
from ganformer_jax.hosts.store import (
    all_of,
    check_together,
    count,
    device_index,
    first,
    is_first,
    single_process,
    value_of,
)

_NOTICE = "RECEIVED_PREEMPTION_NOTICE"  # where jax's preemption service notes it
_PATIENCE = 10.0  # seconds
_agreements, _agreed = 0, False


def first_arrays(function: Callable[[], Any], like: Any) -> Any:
    """Call a function on the first process; return its tree of arrays on all, NumPy arrays.

    Every process must call this, in the same order.

    Args:
        function: Makes the tree; others wait for it, however long it takes.
        like: The same tree of whatever has a shape and a dtype.
    """
    check_together()
    if count() == 1:
        with single_process():
            return function()
    from jax.experimental import multihost_utils

    made: list[Any] = []
    first(lambda: made.append(function()))
    arrays = made[0] if made else jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
    return multihost_utils.broadcast_one_to_all(arrays, is_source=is_first())


def own_rows(total: int) -> list[int]:
    """Return the rows of a table that this process computes, equally many on each.

    Where the number of processes does not divide the total, the last row is repeated.
    """
    share = -(-total // count())
    start = device_index() * share
    return [min(row, total - 1) for row in range(start, start + share)]


def gather_rows(own: Any, total: int) -> Any:
    """Return the whole table on all processes, from the `own_rows` of each; NumPy arrays."""
    check_together()
    if count() == 1:
        return own
    from jax.experimental import multihost_utils

    gathered = multihost_utils.process_allgather(own, tiled=True)
    return jax.tree.map(lambda rows: np.asarray(rows)[:total], gathered)


def preemption_noticed() -> bool:
    """Return whether a process has received SIGTERM, as far as jax's preemption service knows."""
    return count() > 1 and value_of(_NOTICE) is not None


def stop_agreed() -> bool:
    """Return whether all are to stop at this call, because one has received SIGTERM.

    All processes must call this equally often. Once they have agreed, it stays so.
    """
    check_together()
    global _agreements, _agreed
    if count() > 1 and not _agreed:
        from jax.experimental import multihost_utils

        _agreements += 1
        _agreed = multihost_utils.reached_preemption_sync_point(_agreements)
    return _agreed


def check_shared(folder: pathlib.Path) -> None:
    """Raise `UserError` on all processes unless they see the same folder."""
    check_together()
    if count() == 1:
        return
    # A new name each time: a network's disk may remember for a minute that a file was not there.
    token = folder / first(lambda: _write_token(folder))
    deadline = time.monotonic() + _PATIENCE  # and be slow to show one
    while not (found := token.exists()) and time.monotonic() < deadline:
        time.sleep(0.2)
    seen = all_of(found)
    if is_first():
        token.unlink(missing_ok=True)
    if not all(seen):
        raise UserError(f"{folder} is not the same folder on every host: put it on a shared disk")


def check_equal(facts: Mapping[str, Any]) -> None:
    """Raise `UserError` on all processes unless they have the same facts.

    Args:
        facts: JSON values by what they are.
    """
    everyone = all_of(dict(facts))
    for process, other in enumerate(everyone):
        for name in everyone[0] | other:  # in the same order on all processes
            here, there = everyone[0].get(name), other.get(name)
            if here != there:
                raise UserError(
                    f"{name} is {here} on process 0 and {there} on process {process}: give every "
                    "host the same command, files and packages"
                )


def _write_token(folder: pathlib.Path) -> str:
    name = f".hosts-{os.urandom(8).hex()}"
    (folder / name).touch()
    return name
