"""The devices to train on, and the placement of arrays on them."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import math
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ganformer_jax import hosts
from ganformer_jax.config import Config
from ganformer_jax.errors import TemporaryError, UserError

DATA_AXIS, FSDP_AXIS = "data", "fsdp"
SHARDED_SIZE = 2**14
"""Elements of the smallest array of the state that is worth dividing over devices."""
Device = Any  # jax.Device, which type checkers do not take for a type


@dataclasses.dataclass(frozen=True)
class Placement:
    """A mesh of devices that share each batch and hold one or more copies of the state.

    Attributes:
        devices: In the order of the mesh.
        replicated: Every device holds all of an array.
        batch: All devices divide the first axis of an array.
        fsdp: Number of devices that share one copy of the state (fully sharded data parallelism,
            as ZeRO, arXiv 1910.02054); 1 if each device holds a copy.
        sharded_size: Elements of the smallest array of the state that they divide.
    """

    devices: tuple[Device, ...]
    replicated: NamedSharding
    batch: NamedSharding
    fsdp: int = 1
    sharded_size: int = SHARDED_SIZE

    def state_shardings(self, tree: Any) -> Any:
        """Return the sharding of every array of a state.

        Args:
            tree: Arrays, or whatever else has a shape.

        Returns:
            The same tree of shardings: large arrays are divided along their largest dimension that
            `fsdp` divides, the last such one; others are replicated.
        """
        return jax.tree.map(lambda leaf: self._state_sharding(leaf.shape), tree)

    def _state_sharding(self, shape: tuple[int, ...]) -> NamedSharding:
        divisible = [(size, axis) for axis, size in enumerate(shape) if size % self.fsdp == 0]
        if self.fsdp == 1 or math.prod(shape) < self.sharded_size or not divisible:
            return self.replicated
        axes = [FSDP_AXIS if axis == max(divisible)[1] else None for axis in range(len(shape))]
        return NamedSharding(self.replicated.mesh, PartitionSpec(*axes))

    def rounded(self, batch_size: int) -> int:
        """Return the smallest number of images, this or more, that the devices can divide."""
        return -(-batch_size // len(self.devices)) * len(self.devices)

    @property
    def own(self) -> list[Device]:
        """Devices of this process."""
        return [device for device in self.devices if device.process_index == hosts.device_index()]


def place_on(
    devices: Sequence[Device], fsdp: int = 1, sharded_size: int = SHARDED_SIZE
) -> Placement:
    """Return the placement on a mesh of devices.

    The rows of a batch follow the numbers of the processes, and devices that share a copy of the
    state belong to one process if their number divides that of its devices: links inside a host
    are the fastest.

    Args:
        devices: Devices of all processes.
        fsdp: See `Placement`.
        sharded_size: See `Placement`.

    Raises:
        UserError: If `fsdp` does not divide the number of devices.
    """
    if fsdp < 1 or len(devices) % fsdp:
        raise UserError(
            f"train.fsdp is {fsdp}, which does not divide the {len(devices)} devices; "
            f"use {largest_divisor(len(devices), fsdp)}"
        )
    ordered = sorted(devices, key=lambda device: device.process_index)
    shape, axes = (len(ordered) // fsdp, fsdp), (DATA_AXIS, FSDP_AXIS)
    if fsdp == 1:
        shape, axes = shape[:1], axes[:1]
    # Auto: the minibatch-stddev reshape does not type-check on jax's default, Explicit.
    mesh = Mesh(np.asarray(ordered).reshape(shape), axes, axis_types=(AxisType.Auto,) * len(axes))
    replicated, batch = PartitionSpec(), PartitionSpec(axes)
    return Placement(
        devices=tuple(ordered),
        replicated=NamedSharding(mesh, replicated),
        batch=NamedSharding(mesh, batch),
        fsdp=fsdp,
        sharded_size=sharded_size,
    )


def find_devices(platform: str | None = None, count: int | None = None) -> list[Device]:
    """Find the devices to train on; by default all that jax prefers, else as many of each process.

    The platform is "cpu", "gpu" or "tpu"; it has no effect once jax has looked for devices.

    Raises:
        UserError: If there is no such accelerator, or there are too few devices.
        TemporaryError: If an accelerator's library is installed, but could not be used.
    """
    if platform and platform != "gpu":  # which has several names in jax, and all must be there
        jax.config.update("jax_platforms", platform)
    try:
        devices = jax.devices()
    except RuntimeError as error:
        if failure := accelerator_failure(platform):
            raise TemporaryError(f"no {platform or 'device'} found: {failure}") from error
        raise UserError(f"no {platform or 'device'} found: jax cannot use one here") from error
    found = "gpu" if devices[0].platform in ("gpu", "cuda", "rocm") else devices[0].platform
    if platform and found != platform:
        if failure := accelerator_failure(platform):
            raise TemporaryError(f"no {platform} found: {failure}")
        extra = {"gpu": "cuda", "tpu": "tpu"}.get(platform)
        hint = (
            f'; pip install "ganformer-jax[{extra}]" brings what jax needs for it' if extra else ""
        )
        raise UserError(f"no {platform} found: jax runs on {devices[0].platform} here{hint}")
    if count is None:
        return devices
    if not 1 <= count <= len(devices):
        raise UserError(f"train.devices is {count}, but there are {len(devices)}")
    share, rest = divmod(count, hosts.count())
    if rest:
        processes = f"the {hosts.count()} processes"
        raise UserError(f"train.devices is {count}, which {processes} cannot share equally")
    numbers = {device.process_index for device in devices}
    of_process = ([d for d in devices if d.process_index == number] for number in sorted(numbers))
    return [device for own in of_process for device in own[:share]]


def accelerator_failure(platform: str | None = None) -> str:
    """Return why jax cannot use an accelerator whose library is installed; "" if none failed.

    Those of one platform, "gpu" or "tpu", or of all.
    """
    failed = _backend_errors()
    names = (platform,) if platform else tuple(failed)
    if platform == "gpu":
        names = ("cuda", "rocm")
    reasons = [f"{name}: {' '.join(str(failed[name]).split())}" for name in names if name in failed]
    return f"jax says {'; '.join(reasons)}" if reasons else ""


def _backend_errors() -> Mapping[str, Any]:
    """Return why backends of jax failed, by name; nothing if jax keeps it elsewhere now."""
    try:
        from jax._src import xla_bridge  # jax has no public access to it
    except ImportError:
        return {}
    return getattr(xla_bridge, "_backend_errors", {})


def device_words(devices: Sequence[Device]) -> str:
    """Return devices in words: "4 TPU v5e devices"."""
    return f"{len(devices)} {devices[0].device_kind} device{'s' if len(devices) > 1 else ''}"


def divide_cpu(batch_size: int, asked: int | None = None) -> None:
    """Make jax see the CPU as several devices, as many as the cores and the batch allow.

    XLA does not divide small operations over the cores; a batch divided over devices keeps every
    core busy (docs/performance.md). A number chosen by JAX_NUM_CPU_DEVICES or XLA_FLAGS stays, and
    nothing changes once jax has looked for devices.

    Args:
        batch_size: Number of images that the devices divide.
        asked: Number of devices that the user asks for, if any.
    """
    chosen = jax.config.jax_num_cpu_devices  # pyright: ignore[reportAttributeAccessIssue]
    if chosen > 0 or "host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    cores = usable_cores()
    count = largest_divisor(batch_size, cores)
    if asked is not None and 1 <= asked // hosts.count() <= cores:
        count = asked // hosts.count()
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:  # jax has looked for devices already
        return


def smallest_batch(config: Any) -> int:
    """Return the number of images that the smallest update of a step computes at once.

    Training of other kinds than a GAN's has updates of full batches only.
    """
    if not isinstance(config, Config):
        return config.train.batch_size
    shrink = config.loss.path_length_batch_shrink if config.loss.path_length_weight else 1
    return config.train.batch_size // (max(shrink, 1) * config.train.accumulate)


def runs_on_cpu(platform: str | None) -> bool:
    """Return whether jax can only use the CPU, as far as is known before it looks for devices."""
    if platform or os.environ.get("JAX_PLATFORMS"):
        return "cpu" in (platform, os.environ.get("JAX_PLATFORMS"))
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return not plugins and importlib.util.find_spec("libtpu") is None


def usable_cores() -> int:
    """Return the number of cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)  # absent outside Linux
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def largest_divisor(number: int, limit: int) -> int:
    """Return the largest divisor of a positive number up to a limit; 1 for other numbers."""
    return max((n for n in range(1, min(number, limit) + 1) if number % n == 0), default=1)


def memory_gib(device: Device) -> float:
    """Return the most memory in use so far, in GiB: the device's if known, else the process's.

    It is 0 outside POSIX, where nothing tells that of the process.
    """
    stats: Mapping[str, Any] | None = device.memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"] / 2**30
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20
