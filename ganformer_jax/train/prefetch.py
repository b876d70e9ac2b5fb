"""Batches on their way to the devices while the step before is computed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import jax
import numpy as np

from ganformer_jax.train.trainable import Batch


def prefetch(
    batches: Iterable[Mapping[str, np.ndarray]],
    names: Iterable[str],
    sharding: jax.sharding.NamedSharding,
    depth: int = 2,
) -> Iterator[Batch]:
    """Yield batches on the devices, keeping the next `depth` on their way.

    Args:
        batches: This process's share of each batch.
        names: Arrays of a batch to move; others stay on the host.
        sharding: How the devices divide the first axis.
        depth: Batches that are moved ahead.
    """
    names, waiting = list(names), []
    for batch in batches:
        waiting.append(place_batch(batch, names, sharding))
        if len(waiting) > depth:
            yield waiting.pop(0)
    yield from waiting


def place_batch(
    batch: Mapping[str, np.ndarray], names: Iterable[str], sharding: jax.sharding.NamedSharding
) -> Batch:
    """Start moving this process's share of a batch to the devices."""
    return {n: jax.make_array_from_process_local_data(sharding, batch[n]) for n in names}
