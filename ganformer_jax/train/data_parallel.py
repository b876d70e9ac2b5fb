"""How devices share a batch: divided by a mesh under `jax.jit`, or by an axis under `jax.pmap`."""

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
    """How the devices of an update share a batch; by default there is one device.

    Every draw is made for the full batch from one key, so results do not depend on the number of
    devices. Under a mapped axis an update sees one device's share of the batch.

    Attributes:
        batch_sharding: How a mesh of automatic axes divides a batch; without it every device
            generates all images.
        axis_name: The mapped axis of `jax.pmap`.
    """

    batch_sharding: NamedSharding | None = None
    axis_name: str | None = None

    def __post_init__(self):
        sharding = self.batch_sharding
        if sharding is not None and set(sharding.mesh.axis_types) != {AxisType.Auto}:
            raise ValueError(
                "the mesh has axes that are not automatic: make it with "
                "jax.make_mesh(..., axis_types=(jax.sharding.AxisType.Auto,))"
            )

    def axis_size(self) -> int:
        """Return the number of devices on the mapped axis; 1 without one."""
        return 1 if self.axis_name is None else lax.axis_size(self.axis_name)

    def divide(self, batch: Batched) -> Batched:
        """Divide arrays along their first axis over the mesh."""
        if self.batch_sharding is None:
            return batch
        return lax.with_sharding_constraint(batch, self.batch_sharding)

    def share(self, batch: Array) -> Array:
        """Return this device's share of an array that every device has whole."""
        batch = self.divide(batch)
        if self.axis_name is None:
            return batch
        size = batch.shape[0] // self.axis_size()
        return lax.dynamic_slice_in_dim(batch, lax.axis_index(self.axis_name) * size, size)

    def first(self, batch: Array, count: int) -> Array:
        """Return this device's share of the first `count` items of the full batch."""
        if self.axis_name is None:
            return self.divide(batch[:count])
        return self.share(self.gather_batch(batch)[:count])

    def moved_on(self, batch: Array) -> Array:
        """Return this device's share of the full batch moved on by one place, the last first."""
        if self.axis_name is None:
            return self.divide(jnp.roll(batch, 1, 0))
        return self.share(jnp.roll(self.gather_batch(batch), 1, 0))

    def gather_batch(self, batch: Array) -> Array:
        """Return the arrays of all devices' images on every device."""
        if self.axis_name is not None:
            return lax.all_gather(batch, self.axis_name, tiled=True)
        if self.batch_sharding is None:
            return batch
        everywhere = NamedSharding(self.batch_sharding.mesh, PartitionSpec())
        return lax.with_sharding_constraint(batch, everywhere)

    def gather(self, params: Any) -> Any:
        """Gather parameters that a mesh divides: a network uses them whole on every device.

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

    def own_key(self, key: Key[Array, ""]) -> Key[Array, ""]:
        """Return a key of this device, for what a network draws by itself."""
        if self.axis_name is None:
            return key
        return jax.random.fold_in(key, lax.axis_index(self.axis_name))
