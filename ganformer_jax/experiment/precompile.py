"""Compilation of an experiment's programs ahead of training, into the cache."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from ganformer_jax.config.kinds import validate_experiment
from ganformer_jax.experiment.kinds import TRAININGS
from ganformer_jax.experiment.latest import Lower
from ganformer_jax.train.compile import Programs, compile_program, memory_of
from ganformer_jax.train.devices import Placement, device_words, find_devices, place_on
from ganformer_jax.train.logs.progress import duration
from ganformer_jax.train.slices import describe_slice


def precompile(
    config: Any, slice_name: str | None = None, say: Callable[[str], None] = print
) -> None:
    """Compile the first state, the updates and the samples into jax's cache of programs.

    Programs of metrics are not included. The device memory that each program needs is reported.

    Args:
        config: The experiment, of any kind.
        slice_name: A TPU slice, see `describe_slice`; by default the devices of this machine.
        say: Receives lines for the user.

    Raises:
        UserError: If the config cannot be used, there are no such devices, or a program needs more
            memory than a device has.
    """
    validate_experiment(config)
    if slice_name is None:
        devices = find_devices(config.train.platform, config.train.devices)
    else:
        devices = describe_slice(slice_name)
    placement = place_on(devices, config.train.fsdp)
    say(f"compiling for {device_words(placement.devices)}")
    with warnings.catch_warnings():
        # jax cannot read cached programs of devices that are absent, and compiles them again.
        warnings.filterwarnings("ignore", "Error reading persistent compilation cache entry")
        for name, lower in lowered_programs(config, placement).items():
            began = time.perf_counter()
            mebibytes = sum(memory_of(compile_program(name, lower()))) / 2**20
            seconds = duration(time.perf_counter() - began)
            say(f"{name}: {mebibytes:,.0f} MiB of a device, compiled in {seconds}")


def lowered_programs(config: Any, placement: Placement) -> Mapping[str, Lower]:
    """Return functions that trace the programs of a training run, by name.

    The samples are those of the first process, whose devices must be among the placement's.
    """
    kind = TRAININGS[type(config)]
    programs = Programs(kind.trainable(config, placement, _no_images), placement)
    state, batch = programs.abstract_state(), programs.abstract_batch()
    lower: dict[str, Lower] = {
        update.name: functools.partial(programs.lower, update.function, state, batch)
        for update in programs.trainable.updates
    }
    key = jax.eval_shape(lambda: jax.random.key(0))
    lower["first state"] = functools.partial(programs.init.lower, key)
    return {**lower, **kind.latest(config, placement).programs(state)}


def _no_images(state: Any, indices: Any) -> np.ndarray:
    raise AssertionError("nothing runs")
