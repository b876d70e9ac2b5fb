"""Time the reading of training batches, in images per second, by storage and threads.

Command:  python benchmarks/data.py --size 256 --count 512

Writes temporary datasets of the same color images as ArrayRecord: uncompressed PNG (raw), PNG and
JPEG. The images are smooth and random: octaves of interpolated noise and a little grain. Files are
in the page cache, so disks are not timed; half of the images are mirrored. Storages and threads are
timed in turn, so that all meet the same conditions. Prints the median (lowest to highest), and for
comparison the speed of training where it was measured.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import pathlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from ganformer_jax.data.batches import DatasetSource, open_dataset, train_batches
from ganformer_jax.data.fit import Geometry
from ganformer_jax.data.prepare import prepare
from ganformer_jax.data.sources.open import open_source
from ganformer_jax.data.spec import DatasetSpec

BATCH = 32
STORED: list[Any] = ["raw", "png", "jpeg"]
DEMAND = "training on scenes of 32x32, two CPU cores (docs/quickstart.md): 116 images per second"


def smooth_images(count: int, size: int) -> Iterator[np.ndarray]:
    """Yield color images, uint8 [size, size, 3]; finer octaves have less contrast."""
    random = np.random.default_rng(0)
    octaves = [2**n for n in range(1, size.bit_length()) if 2**n <= size]
    for _ in range(count):
        total = random.normal(0, 3, (size, size, 1))  # the grain
        for cells in octaves:
            coarse = random.normal(0, 60 / cells**0.7, (cells, cells, 3)).astype(np.float32)
            channels = [Image.fromarray(coarse[..., c]) for c in range(3)]
            fine = [c.resize((size, size), Image.Resampling.BICUBIC) for c in channels]
            total = total + np.stack([np.asarray(channel) for channel in fine], -1)
        yield np.clip(128 + total, 0, 255).astype(np.uint8)


class Jpegs(tfds.core.GeneratorBasedBuilder):
    """Builder of a dataset of JPEG images, which `prepare` does not write."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, folder: pathlib.Path, pictures: np.ndarray):
        self.pictures = pictures
        super().__init__(data_dir=str(folder))

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Image(shape=self.pictures.shape[1:], encoding_format="jpeg")
        features = tfds.features.FeaturesDict({"image": image})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, pixels in enumerate(self.pictures):
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, format="JPEG", quality=95)
            yield index, {"image": io.BytesIO(file.getvalue())}


def store(folder: pathlib.Path, stored: Any, pictures: np.ndarray) -> DatasetSource:
    """Make a dataset, with `prepare` if it supports the storage."""
    size = pictures.shape[1:3]
    if stored == "jpeg":
        tfds.disable_progress_bar()
        builder = Jpegs(folder / stored, pictures)
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(file_format="array_record")
        return open_dataset(builder.data_path, folder, size=size)
    np.save(folder / "pictures.npy", pictures)
    with open_source(str(folder / "pictures.npy")) as source:
        made = prepare(source, DatasetSpec(stored, Geometry(*size), storage=stored), folder)
    return open_dataset(made.folder, folder, size=size)


def speed(source: DatasetSource, threads: int, seconds: float) -> float:
    """Return images per second of one turn, without the batches that fill the buffer."""
    batches = train_batches(source, batch_size=BATCH, seed=0, mirror=True, threads=threads)
    for _ in range(2 + 2 * threads):
        next(batches)
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        next(batches)
        done += BATCH
    return done / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=256, help="height and width in pixels")
    parser.add_argument("--count", type=int, default=512, help="images per dataset")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds per turn")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--stored", nargs="+", choices=STORED, default=STORED)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = pathlib.Path(folder)
        pictures = np.stack(list(smooth_images(options.count, options.size)))
        sources = {name: store(base, name, pictures) for name in options.stored}
        cases = [(name, threads) for name in sources for threads in options.threads]
        speeds: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
        for _ in range(options.turns):
            for name, threads in cases:
                speeds[name, threads].append(speed(sources[name], threads, options.seconds))
        for (name, threads), found in speeds.items():
            files = (base / name).rglob("*.array_record*")
            kib = sum(file.stat().st_size for file in files) / options.count / 1024
            print(
                f"{name:5s} {kib:6.1f} KiB per image, {threads} threads: "
                f"{statistics.median(found):7.0f} images per second "
                f"({min(found):.0f} to {max(found):.0f})"
            )
    print(DEMAND)


if __name__ == "__main__":
    main()
