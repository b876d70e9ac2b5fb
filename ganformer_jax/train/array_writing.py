"""How Orbax writes the arrays of a state."""

from __future__ import annotations

from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint._src.metadata.array_metadata_store import Store  # of types of random keys

SHARED_BYTES = 2**24
"""Smallest share of an array for which devices that all have it divide its writing."""


def handlers() -> Any:
    """Return Orbax's handlers for a manager of checkpoints whose item `state` is a pytree.

    Devices that all have an array would each cut a share from it and write that. A state has
    hundreds of small arrays, of which every cut is a program to compile and to start: one device
    writes them alone, and a save keeps training waiting for half as long.
    """
    arrays = ocp.type_handlers.ArrayHandler(
        array_metadata_store=Store(), min_slice_bytes_for_replica_parallel=SHARED_BYTES
    )
    types = ocp.type_handlers.create_type_handler_registry((jax.Array, arrays))
    handler = ocp.PyTreeCheckpointHandler(type_handler_registry=types)
    registry = ocp.handlers.DefaultCheckpointHandlerRegistry()
    registry.add("state", ocp.args.PyTreeSave, handler)
    registry.add("state", ocp.args.PyTreeRestore, handler)
    return registry
