"""Time training and sampling of one network and print one line of JSON; see speed.py.

Command:  python benchmarks/ganformer.py --resolution 64 --batch 8 [--augment bgc]

A turn runs the updates of training, and every few turns R1, which counts with a weight of 1/16, and
sampling, so that all are timed under the same conditions.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import io
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import cases
import jax
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from ganformer_jax.cli.heap import keep_freed_memory, leave_fragments
from ganformer_jax.config import AugmentConfig, Config
from ganformer_jax.data.batches import DatasetSource, train_batches
from ganformer_jax.sampling import Sampler
from ganformer_jax.train.compile import Programs
from ganformer_jax.train.data_parallel import DataParallel
from ganformer_jax.train.devices import (
    divide_cpu,
    find_devices,
    memory_gib,
    place_on,
    runs_on_cpu,
    smallest_batch,
)
from ganformer_jax.train.networks import Networks
from ganformer_jax.train.prefetch import place_batch
from ganformer_jax.train.regularization import path_length_update
from ganformer_jax.train.updates import (
    discriminator_update,
    ema_update,
    gan_trainable,
    generator_update,
)


class Trial:
    """Programs of one network, each compiled once and run on its own state."""

    def __init__(
        self,
        case: cases.Case,
        dtype: Literal["float32", "bfloat16"],
        phases: bool,
        augment: AugmentConfig,
    ):
        self.config = dataclasses.replace(cases.config_of(case, dtype), augment=augment)
        own_heap = runs_on_cpu(None) and keep_freed_memory()
        divide_cpu(smallest_batch(self.config))
        self.placement = place_on(find_devices())
        self.devices = self.placement.devices
        programs = Programs(gan_trainable(self.config, self.placement, self.images), self.placement)
        self.state = programs.init(jax.random.key(0))
        size = (case.batch, case.resolution, case.resolution, 3)
        images = np.random.default_rng(0).integers(0, 256, size, np.uint8)
        self.batch = place_batch({"images": images}, ["images"], self.placement.batch)
        functions = {u.name: u.function for u in programs.trainable.updates}
        if phases:
            networks = Networks(self.config, DataParallel(self.placement.batch))
            for update in (generator_update, discriminator_update, path_length_update):
                name = update.__name__.removesuffix("_update")
                functions[name] = functools.partial(update, networks)
            functions["average"] = lambda state, batch: (
                ema_update(networks, state, len(batch["images"])),
                {},
            )
        self.compile_seconds, self.programs = {}, {}
        for name, function in functions.items():
            began = time.perf_counter()
            self.programs[name] = programs.lower(function, self.state, self.batch).compile()
            self.compile_seconds[name] = round(time.perf_counter() - began, 2)
        self.sampler = Sampler(
            self.config.generator, case.batch, noise="const", batch_sharding=self.placement.batch
        )
        self.sample()
        if own_heap:
            leave_fragments()

    def update(self, name: str) -> None:
        self.state, _ = jax.block_until_ready(self.programs[name](self.state, self.batch))

    def images(self, state: Any, seeds: Sequence[int]) -> np.ndarray:
        return self.sampler(state.generator_variables(), seeds, truncation_psi=0.7).images

    def sample(self) -> np.ndarray:
        return self.images(self.state, range(self.config.train.batch_size))

    def phases(self) -> dict[str, Callable[[], object]]:
        updates = {name: functools.partial(self.update, name) for name in self.programs}
        return {**updates, "sample": self.sample}

    def operations(self, name: str) -> float:
        """Return the operations of all devices in GFLOP, as XLA counts them."""
        cost = self.programs[name].cost_analysis()
        return round(cost["flops"] * len(self.devices) / 1e9, 2)


def loader_milliseconds(config: Config, batches: int = 50) -> float:
    """Return the milliseconds to read and decode a batch of PNGs in memory."""
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
    parser.add_argument("--phases", action="store_true", help="time each update separately")
    parser.add_argument("--augment", nargs="*", default=[], help="transformations, at p = 0.3")
    parser.add_argument("--diff-augment", nargs="*", default=[], help="policies of DiffAugment")
    arguments = parser.parse_args()
    case = cases.parse(arguments)
    augment = AugmentConfig(
        transforms=tuple(arguments.augment),
        mode="fixed",
        p=0.3 if arguments.augment else 0.0,
        diff_augment=tuple(arguments.diff_augment),
    )
    trial = Trial(case, arguments.dtype, arguments.phases, augment)
    spent = cases.median_milliseconds(trial.phases(), cases.EVERY, arguments.seconds)
    interval = trial.config.loss.r1_interval
    training = spent["adversarial"] + spent["r1"] / interval
    report: dict[str, Any] = {
        "train_images_per_second": round(case.batch / training * 1e3, 3),
        "sample_images_per_second": round(case.batch / spent["sample"] * 1e3, 3),
        "milliseconds": {name: round(value, 2) for name, value in spent.items()},
        "gflop": {name: trial.operations(name) for name in trial.programs},
        "compile_seconds": trial.compile_seconds,
        "peak_memory_gib": round(memory_gib(trial.devices[0]), 2),
        "devices": f"{len(trial.devices)} {trial.devices[0].device_kind}",
    }
    if arguments.phases:
        report["milliseconds"]["loader"] = loader_milliseconds(trial.config)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
