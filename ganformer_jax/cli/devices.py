"""The devices of a command, and what is set up before jax looks for them."""

from __future__ import annotations

import jax

from ganformer_jax import hosts
from ganformer_jax.caches import keep_compiled_programs
from ganformer_jax.cli.heap import tune_heap
from ganformer_jax.train.devices import Placement, divide_cpu, place_on, runs_on_cpu


def local_devices(batch_size: int) -> Placement:
    """Return the placement on the devices of this host, after `prepare_cpu`."""
    prepare_cpu(batch_size)
    return place_on(jax.local_devices())


def prepare_cpu(batch_size: int, devices: int | None = None, platform: str | None = None) -> None:
    """Divide the CPU over a batch, tune the heap if there is only a CPU, and cache programs."""
    keep_compiled_programs()
    if runs_on_cpu(platform):
        tune_heap()
    divide_cpu(batch_size // hosts.count(), devices)
