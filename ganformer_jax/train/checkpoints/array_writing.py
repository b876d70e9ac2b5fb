"""Options of Orbax for writing the arrays of a state."""

from __future__ import annotations

from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint._src.metadata.array_metadata_store import Store  # of types of random keys


def handlers() -> Any:
    """Return Orbax's handlers for a manager of checkpoints whose item `state` is a pytree.

    By default devices that all have an array each cut a share from it and write that. A state has
    hundreds of arrays, and every cut is a program to compile and to start, while training waits.
    Here the first device that has an array, or a shard of it, writes it whole.
    """
    arrays = ocp.type_handlers.ArrayHandler(
        array_metadata_store=Store(), use_replica_parallel=False
    )
    types = ocp.type_handlers.create_type_handler_registry((jax.Array, arrays))
    handler = ocp.PyTreeCheckpointHandler(type_handler_registry=types)
    registry = ocp.handlers.DefaultCheckpointHandlerRegistry()
    registry.add("state", ocp.args.PyTreeSave, handler)
    registry.add("state", ocp.args.PyTreeRestore, handler)
    return registry
