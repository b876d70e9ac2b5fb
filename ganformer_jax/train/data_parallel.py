"""Data parallelism: a mesh shards the batch under `jax.jit`, a mapped axis under `jax.pmap`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ganformer_jax.train.devices import FSDP_AXIS

if TYPE_CHECKING:
    from jaxtyping import Array, Key


Batched = TypeVar("Batched")
"""An array whose first axis is the batch, or a tree of them."""


@dataclasses.dataclass(frozen=True)
class DataParallel:
    """Data parallelism of an update over devices; by default there is one device.

    Every draw is made for the full batch from one key, so results do not depend on the number of
    devices. Under a mapped axis an update sees one device's share of the batch.

    Attributes:
        batch_sharding: Sharding of a batch on a mesh of automatic axes; without it every device
            generates all images.
        axis_name: The mapped axis of `jax.pmap`.

    Raises:
        TypeError: `batch_sharding` is not a `NamedSharding`.
        ValueError: The mesh has axes that are not automatic.
    """

    batch_sharding: NamedSharding | None = None
    axis_name: str | None = None

    def __post_init__(self):
        sharding = self.batch_sharding
        if not isinstance(sharding, NamedSharding | None):
            kind = type(sharding).__name__
            raise TypeError(f"batch_sharding is a {kind}: give NamedSharding(mesh, PartitionSpec)")
        if sharding is not None and set(sharding.mesh.axis_types) != {AxisType.Auto}:
            raise ValueError(
                "the mesh has axes that are not automatic: make it with "
                "jax.make_mesh(..., axis_types=(jax.sharding.AxisType.Auto,))"
            )

    def axis_size(self) -> int:
        """Return the number of devices on the mapped axis; 1 without one."""
        return 1 if self.axis_name is None else lax.axis_size(self.axis_name)

    def constrain_batch(self, batch: Batched) -> Batched:
        """Constrain arrays [B, ...] to the batch sharding of the mesh, if there is one."""
        if self.batch_sharding is None:
            return batch
        return lax.with_sharding_constraint(batch, self.batch_sharding)

    def local_shard(self, batch: Array) -> Array:
        """Return this device's rows of an array [B, ...] that every device has in full.

        Without a mapped axis this is the whole array, constrained to the batch sharding.
        """
        batch = self.constrain_batch(batch)
        if self.axis_name is None:
            return batch
        size = batch.shape[0] // self.axis_size()
        return lax.dynamic_slice_in_dim(batch, lax.axis_index(self.axis_name) * size, size)

    def take_first(self, batch: Array, count: int) -> Array:
        """Return this device's rows of the first `count` rows of the full batch."""
        if self.axis_name is None:
            return self.constrain_batch(batch[:count])
        return self.local_shard(self.gather_batch(batch)[:count])

    def roll_batch(self, batch: Array) -> Array:
        """Return this device's rows of the full batch, rolled by one row: the last comes first."""
        if self.axis_name is None:
            return self.constrain_batch(jnp.roll(batch, 1, 0))
        return self.local_shard(jnp.roll(self.gather_batch(batch), 1, 0))

    def gather_batch(self, batch: Array) -> Array:
        """Return the rows of all devices on every device, in the order of the full batch."""
        if self.axis_name is not None:
            return lax.all_gather(batch, self.axis_name, tiled=True)
        if self.batch_sharding is None:
            return batch
        everywhere = NamedSharding(self.batch_sharding.mesh, PartitionSpec())
        return lax.with_sharding_constraint(batch, everywhere)

    def replicate_params(self, params: Any) -> Any:
        """Replicate parameters that a mesh shards: every device computes with all of them.

        Otherwise XLA might follow their shardings, divide the channels of activations too, and
        send activations between devices.
        """
        mesh = self.batch_sharding and self.batch_sharding.mesh
        if mesh is None or FSDP_AXIS not in mesh.axis_names:
            return params
        return lax.with_sharding_constraint(params, NamedSharding(mesh, PartitionSpec()))

    def mean(self, tree: Any) -> Any:
        """Average over the devices of the mapped axis."""
        return tree if self.axis_name is None else lax.pmean(tree, self.axis_name)

    def fold_in_device(self, key: Key[Array, ""]) -> Key[Array, ""]:
        """Fold the number of the device on the mapped axis into a key; return it as is without one.

        It is for what a network draws by itself.
        """
        if self.axis_name is None:
            return key
        return jax.random.fold_in(key, lax.axis_index(self.axis_name))
