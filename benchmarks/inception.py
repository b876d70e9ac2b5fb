"""Measure images per second through FID's Inception, the share of peak, and a run's distance.

Command:  python benchmarks/inception.py --workdir runs/scenes --images 10000

Computes features of N images of the run's dataset and N of its generator by the network with
random weights, and prints one line of JSON with their distance (`rfid`). The bound is the network's
operations, as XLA counts them, at the highest speed that `benchmarks/peak.py` measures.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

HERE = pathlib.Path(__file__).parent


def measured_peak() -> float:
    """Return GFLOP/s in float32, measured by a process with all cores as one device."""
    done = subprocess.run(
        [sys.executable, str(HERE / "peak.py")], check=True, capture_output=True, text=True
    )
    return max(json.loads(done.stdout)["float32"].values())


def operations() -> float:
    """Return the GFLOP of one image, as XLA counts them."""
    import jax
    import jax.numpy as jnp

    from ganformer_jax.metrics.inception import SIDE, Inception

    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    variables = jax.eval_shape(Inception().init, jax.random.key(0), image)

    def features(variables: Any, image: Any) -> Any:
        found: Any = Inception().apply(variables, image)
        return found["2048"]

    costs: Any = jax.jit(features).lower(variables, image).cost_analysis()
    return costs["flops"] / 1e9


class Timed:
    """A function that samples images, and the seconds it took."""

    def __init__(self, sample):
        self.sample, self.seconds = sample, 0.0

    def __call__(self, indices: Sequence[int]) -> np.ndarray:
        started = time.perf_counter()
        try:
            return self.sample(indices)
        finally:
            self.seconds += time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/scenes"))
    parser.add_argument("--images", type=int, default=10_000, help="number of images of each set")
    parser.add_argument("--batch-size", type=int, default=32)
    arguments = parser.parse_args()
    peak = measured_peak()

    from ganformer_jax.cli.devices import local_devices
    from ganformer_jax.evaluate.features import feature_reader
    from ganformer_jax.evaluate.requests import RANDOM
    from ganformer_jax.experiment.evaluation import (
        generated_images,
        metric_networks,
        reference_images,
    )
    from ganformer_jax.load import load_run
    from ganformer_jax.metrics import frechet_distance

    run, batch_size = arguments.workdir, arguments.batch_size
    networks = metric_networks(local_devices(batch_size), batch_size, cached=False)
    reader = feature_reader(RANDOM, networks)
    fake, _ = generated_images(run, *load_run(run), networks)
    image_sets = {"real": reference_images(run), "fake": fake}
    features, speeds = {}, {}
    for role, image_set in image_sets.items():
        timed = Timed(image_set.sample)
        images = dataclasses.replace(image_set, sample=timed, content=None)
        reader.extractor(images.read(range(arguments.batch_size)))  # compiles
        timed.seconds, started = 0.0, time.perf_counter()
        features[role] = reader(images, arguments.images)["2048"]
        inside = time.perf_counter() - started - timed.seconds
        speeds[role] = arguments.images / inside
    gflop = operations()
    print(
        json.dumps(
            {
                "images": arguments.images,
                "rfid": frechet_distance(features["real"], features["fake"]),
                "images_per_second": {role: round(speed, 2) for role, speed in speeds.items()},
                "gflop_per_image": round(gflop, 2),
                "peak_gflops": peak,
                "bound_images_per_second": round(peak / gflop, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
