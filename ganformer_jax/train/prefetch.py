"""Transfer of batches to the devices during the steps before them."""

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
    """Yield batches on the devices, while the transfer of the next `depth` has started.

    Args:
        batches: This process's share of each batch.
        names: Arrays of a batch to transfer; others stay on the host.
        sharding: How the devices divide the first axis.
        depth: Number of batches.
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
    """Start the transfer of this process's share of a batch to the devices."""
    return {n: jax.make_array_from_process_local_data(sharding, batch[n]) for n in names}
