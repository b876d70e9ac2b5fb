"""Compile and time one network, for `gpu.py`, which lets one process at a time have the device.

Command:   python benchmarks/gpu_case.py --resolution 64 --batch 32 --precision bfloat16

Says "ready" once all programs are compiled, waits for a line on standard input, then prints the
figures as one line of JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import pathlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))  # a checkout that is not installed

import cases
import gpu_profile
import jax
import numpy as np

from ganformer_jax.gpu import prepare_gpu
from ganformer_jax.sampling import ALL_LAYERS, Sampler
from ganformer_jax.train.compile import Programs
from ganformer_jax.train.devices import find_devices, memory_gib, place_on
from ganformer_jax.train.prefetch import place_batch
from ganformer_jax.train.updates import gan_trainable

PRECISIONS: dict[str, tuple[Literal["float32", "bfloat16"], Literal["default", "highest"]]] = {
    "bfloat16": ("bfloat16", "default"),
    "TF32": ("float32", "default"),
    "float32": ("float32", "highest"),
}
"""Type of activations and `train.matmul_precision`; without TF32 the last two are the same."""


class Ready(NamedTuple):
    """The compiled programs of a case."""

    programs: Programs
    init: Any
    updates: dict[str, Any]
    sample: Any
    batch: Any
    seconds: float


def prepare(case: cases.Case, precision: str) -> Ready:
    """Compile all programs of a case."""
    began = time.perf_counter()
    dtype, matmul_precision = PRECISIONS[precision]
    config = cases.config_of(case, dtype)
    train = dataclasses.replace(config.train, matmul_precision=matmul_precision)
    config = dataclasses.replace(config, train=train)
    placement = place_on(find_devices())
    programs = Programs(gan_trainable(config, placement, no_images), placement)
    state, batch = programs.abstract_state(), programs.abstract_batch()
    updates = {
        update.name: programs.lower(update.function, state, batch).compile()
        for update in programs.trainable.updates
    }
    sampler = Sampler(config.generator, case.batch, batch_sharding=placement.batch)
    sample = sampler.lower(state.generator_variables()).compile()
    size = (case.batch, case.resolution, case.resolution, 3)
    images = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    placed = place_batch({"images": images}, ["images"], placement.batch)
    init = programs.init.lower(jax.random.key(0)).compile()
    return Ready(programs, init, updates, sample, placed, time.perf_counter() - began)


def no_images(state: Any, indices: Sequence[int]) -> np.ndarray:
    raise AssertionError("images are drawn by a program of their own")


class Trial:
    """A state that the programs of a case train."""

    def __init__(self, case: cases.Case, ready: Ready):
        self.case, self.ready = case, ready
        self.state = ready.init(jax.random.key(0))
        seeds = np.arange(case.batch, dtype=np.uint32)
        inputs = seeds, np.zeros((case.batch, 0), np.float32)
        placed = jax.device_put(inputs, ready.programs.placement.batch)
        self.inputs = *placed, np.float32(0.7), np.int32(ALL_LAYERS)

    def update(self, name: str) -> None:
        self.state, _ = jax.block_until_ready(
            self.ready.updates[name](self.state, self.ready.batch)
        )

    def sample(self) -> None:
        jax.block_until_ready(self.ready.sample(self.state.generator_variables(), *self.inputs))

    def phases(self) -> dict[str, Callable[[], None]]:
        updates = {name: functools.partial(self.update, name) for name in self.ready.updates}
        return {**updates, "sample": self.sample}

    def measure(self, seconds: float) -> dict[str, Any]:
        """Return the figures of this case."""
        spent = cases.median_milliseconds(self.phases(), cases.EVERY, seconds)
        interval = cases.config_of(self.case).loss.r1_interval
        batch, training = self.case.batch, spent["adversarial"] + spent["r1"] / interval
        return {
            "train_images_per_second": round(batch / training * 1e3, 2),
            "sample_images_per_second": round(batch / spent["sample"] * 1e3, 2),
            "milliseconds": {name: round(value, 3) for name, value in spent.items()},
            "seconds_to_compile": round(self.ready.seconds, 1),
            "memory_gib": round(memory_gib(self.ready.programs.placement.devices[0]), 2),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cases.add_flags(parser)
    parser.add_argument("--precision", choices=PRECISIONS, default="TF32")
    parser.add_argument("--profile", action="store_true", help="say which kernels take longest")
    options = parser.parse_args()
    case = cases.parse(options)
    ready = prepare(case, options.precision)
    print("ready", flush=True)
    if not sys.stdin.readline():
        return
    trial = Trial(case, ready)
    found: dict[str, Any] = {"timed": trial.measure(options.seconds), "kernels": []}
    if options.profile:
        found["kernels"] = gpu_profile.kernels(functools.partial(trial.update, "adversarial"))
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    prepare_gpu()
    main()
