"""What has to be known and set for a CPU before jax looks for devices."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os

import jax

from ganformer_jax.config import Config


def one_device_per_core(config: Config) -> None:
    """Makes jax take the CPU for several devices, as many as the cores and the batch allow.

    XLA divides an operation over the cores only where that pays, and small ones never do; a
    batch divided over devices keeps every core busy (docs/performance.md). Where the user has
    chosen a number, with `train.devices`, JAX_NUM_CPU_DEVICES or XLA_FLAGS, that stays.
    """
    chosen = jax.config.jax_num_cpu_devices  # pyright: ignore[reportAttributeAccessIssue]
    if chosen > 0 or "host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    shrink = config.loss.path_length_batch_shrink if config.loss.path_length_weight else 1
    cores, asked = usable_cores(), config.train.devices
    count = largest_divisor(config.train.batch_size // max(shrink, 1), cores)
    if asked is not None and 1 <= asked <= cores:
        count = asked
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:  # jax has looked for devices already
        return


def nothing_but_cpu(platform: str | None) -> bool:
    """Whether jax can only run on the CPU, as far as can be told before it looks for devices.

    Args:
        platform: The one the user asks for, if any.
    """
    if platform or os.environ.get("JAX_PLATFORMS"):
        return "cpu" in (platform, os.environ.get("JAX_PLATFORMS"))
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return not plugins and importlib.util.find_spec("libtpu") is None


def usable_cores() -> int:
    """Cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)  # absent outside Linux
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def largest_divisor(number: int, limit: int) -> int:
    """Largest divisor of a positive number that is not above a limit; 1 for other numbers."""
    return max((n for n in range(1, min(number, limit) + 1) if number % n == 0), default=1)
