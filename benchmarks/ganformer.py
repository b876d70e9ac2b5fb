"""Times training and sampling of one network and prints one line of JSON; see speed.py.

Command:  python benchmarks/ganformer.py --resolution 64 --batch 8

A turn plays rounds as training does, the R1 step among them but counted with its weight of one in
sixteen, and samples now and then, so that every number meets the same conditions.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import time
from collections.abc import Callable
from typing import Any, Literal

import cases
import jax
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from ganformer_jax.config import Config
from ganformer_jax.data.batches import DatasetSource, train_batches
from ganformer_jax.sampling import Sampler
from ganformer_jax.train.compile import CompiledGame, find_devices
from ganformer_jax.train.cpu import nothing_but_cpu, one_device_per_core
from ganformer_jax.train.heap import keep_freed_memory, leave_fragments
from ganformer_jax.train.log import memory_gib


class Trial:
    """The programs of one network, each compiled once and run on a state of its own."""

    def __init__(self, case: cases.Case, dtype: Literal["float32", "bfloat16"], phases: bool):
        self.config = cases.config_of(case, dtype)
        own_heap = nothing_but_cpu(None) and keep_freed_memory()
        one_device_per_core(self.config)
        self.devices = find_devices()
        self.game = CompiledGame(self.config, self.devices)
        self.state = self.game.create(jax.random.key(0))
        size = (case.batch, case.resolution, case.resolution, 3)
        images = np.random.default_rng(0).integers(0, 256, size, np.uint8)
        labels = np.zeros((case.batch, 0), np.float32)
        self.batch = self.game.place({"images": images, "labels": labels})
        self.steps = ["r1_step", "adversarial_step"]
        if phases:
            self.steps += ["generator_step", "discriminator_step", "path_length_step"]
        self.parts = phases
        self.average = jax.jit(
            self.game.game.average_step, out_shardings=self.game.replicated, donate_argnums=0
        )
        self.compile_seconds, self.programs = {}, {}
        for name in self.steps:
            began = time.perf_counter()
            self.programs[name] = self.game.lower(name, self.state, self.batch).compile()
            self.compile_seconds[name] = round(time.perf_counter() - began, 2)
        self.sampler = Sampler(
            self.config.generator, case.batch, noise="const", divided=self.game.divided
        )
        self.sample()
        if own_heap:
            leave_fragments()

    def play(self, name: str) -> None:
        self.state, _ = jax.block_until_ready(self.programs[name](self.state, self.batch))

    def follow(self) -> None:
        self.state = jax.block_until_ready(self.average(self.state, self.batch))

    def sample(self) -> np.ndarray:
        seeds = range(self.config.train.batch_size)
        return self.sampler(self.state.generator_variables(), seeds, truncation_psi=0.7).images

    def phases(self) -> dict[str, Callable[[], object]]:
        plays = {name: functools.partial(self.play, name) for name in self.steps}
        parts = {"average_step": self.follow} if self.parts else {}
        return {**plays, **parts, "sample": self.sample}

    def operations(self, name: str) -> float:
        """Floating-point operations of all devices, in units of 1e9, as XLA counts them."""
        cost = self.programs[name].cost_analysis()
        return round(cost["flops"] * len(self.devices) / 1e9, 2)


def loader_milliseconds(config: Config, batches: int = 50) -> float:
    """Milliseconds a batch takes to be read and decoded, from PNG in memory, with nothing else."""
    size = config.generator.resolution
    image = tfds.features.Image(shape=(size, size, 3), encoding_format="png")
    features = tfds.features.FeaturesDict({"image": image})
    coarse = np.random.default_rng(0).integers(0, 256, (256, 8, 8, 3), np.uint8)
    fine = coarse.repeat(size // 8, 1).repeat(size // 8, 2)
    records = []
    for picture in fine:
        png = io.BytesIO()
        Image.fromarray(picture).save(png, "PNG")
        records.append(features.serialize_example({"image": io.BytesIO(png.getvalue())}))
    source = DatasetSource("benchmark", records, features, (size, size), 3, 0)
    left = train_batches(
        source, batch_size=config.train.batch_size, seed=0, threads=config.data.threads
    )
    next(left)
    began = time.perf_counter()
    for _ in range(batches):
        next(left)
    return round((time.perf_counter() - began) * 1e3 / batches, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cases.add_flags(parser)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--phases", action="store_true", help="time all parts of a round alone")
    arguments = parser.parse_args()
    case = cases.parse(arguments)
    trial = Trial(case, arguments.dtype, arguments.phases)
    spent = cases.median_milliseconds(trial.phases(), cases.EVERY, arguments.seconds)
    interval = trial.config.loss.r1_interval
    training = spent["adversarial_step"] + spent["r1_step"] / interval
    report: dict[str, Any] = {
        "train_images_per_second": round(case.batch / training * 1e3, 3),
        "sample_images_per_second": round(case.batch / spent["sample"] * 1e3, 3),
        "milliseconds": {name: round(value, 2) for name, value in spent.items()},
        "gflop": {name: trial.operations(name) for name in trial.steps},
        "compile_seconds": trial.compile_seconds,
        "peak_memory_gib": round(memory_gib(trial.devices[0]), 2),
        "devices": f"{len(trial.devices)} {trial.devices[0].device_kind}",
    }
    if arguments.phases:
        report["milliseconds"]["loader"] = loader_milliseconds(trial.config)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
