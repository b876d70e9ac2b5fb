"""The data of a run, and samples to set beside them."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from ganformer_jax.classes import save_class_names
from ganformer_jax.config import Config
from ganformer_jax.data.batches import DatasetSource, held_out_images, open_dataset, train_batches
from ganformer_jax.data.find import find_version
from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.image_sets import Numbered
from ganformer_jax.sampling import Sampler
from ganformer_jax.train.loop import Snapshot

BATCH = 32
"""Images that observers make at once."""


class Data:
    """The data of a run, opened (and for scenes made) when first asked for.

    Raises:
        UserError: If the data is scenes, which are square, and the generator's images are not; or
            if data.directory is not on this machine.
    """

    def __init__(self, config: Config):
        self.config = config
        if "://" in config.data.directory:
            raise UserError(
                f"data.directory {config.data.directory} is not on this machine: give data.name "
                "the whole gs:// path of the dataset"
            )
        height, width = config.generator.image_size
        if config.data.name == "scenes" and height != width:
            raise UserError(
                f"scenes are square, not {height}x{width}; give data.name or a square "
                "generator.base_grid"
            )

    @functools.cached_property
    def folder(self) -> str:
        """Name or folder of the prepared dataset."""
        data = self.config.data
        if data.name != "scenes":
            return data.name
        from ganformer_jax.scenes.dataset import prepare_scenes

        builder = prepare_scenes(
            data.directory,
            self.config.generator.resolution,
            data.train_images,
            data.held_out_images,
        )
        return str(builder.data_path)

    @functools.cache  # noqa: B019 - lives as long as the process
    def open(self, split: str) -> DatasetSource:
        """Opens a split at the size of the generator's images."""
        generator = self.config.generator
        source = open_dataset(
            self.folder,
            self.config.data.directory,
            size=generator.image_size,
            split=split,
            channels=generator.image_channels,
        )
        if generator.label_size not in (0, source.label_count):
            raise UserError(
                f"generator.label_size is {generator.label_size}, but {source.name} has "
                f"{source.label_count} classes: set --generator.label-size {source.label_count}"
            )
        return source

    def batches(self, start_step: int, workdir: pathlib.Path) -> Iterator[dict[str, np.ndarray]]:
        """Goes on with this process's share of the training batches of the run in a folder.

        The folder receives the names of the classes, if the generator is conditional.
        """
        source = self.open("train")
        if self.config.generator.label_size and jax.process_index() == 0:
            save_class_names(source.class_names, workdir)
        return train_batches(
            source,
            batch_size=self.config.train.batch_size,
            seed=self.config.train.seed,
            start_step=start_step,
            mirror=self.config.data.mirror,
            host_index=jax.process_index(),
            host_count=jax.process_count(),
            threads=self.config.data.threads,
        )

    def held_out(self, count: int) -> np.ndarray:
        """So many images to compare with: of the test split, or of training where there is none."""
        source = self.open("train")
        for split in ("test", "validation"):
            try:
                source = self.open(split)
                break
            except UserError:
                continue
        return held_out_images(source, min(count, len(source)))


def open_folder(folder: pathlib.Path, split: str) -> DatasetSource:
    """Opens a split of a prepared dataset, of images of one size, by its folder alone."""
    import tensorflow_datasets as tfds

    folder = find_version(folder)
    features: Any = tfds.builder_from_directory(folder).info.features
    shape = features["image"].shape if features and "image" in features else None
    if not shape or not all(shape):
        raise UserError(f"{folder} does not say how large its images are")
    return open_dataset(folder, folder, size=shape[:2], split=split, channels=shape[-1])


def dataset_images(source: DatasetSource) -> Numbered:
    """The images of a split, in stored order."""
    return Numbered(
        source.name,
        len(source),
        lambda rows: np.stack([source[row]["images"] for row in rows]),
        lambda row: source.records[row],
    )


def labels_like(source: DatasetSource, seeds: Sequence[int]) -> list[int]:
    """Classes for generated images: those of real ones, in an order that is always the same."""
    order = np.random.default_rng(0).permutation(len(source))
    return [source.label(int(order[seed % len(order)])) for seed in seeds]


def make_sampler(config: Config, now: Snapshot) -> Sampler:
    """One sampler for pictures and numbers, as it takes long to compile."""
    devices = now.divided.num_devices
    batch = BATCH if BATCH % devices == 0 else config.train.batch_size
    return Sampler(config.generator, batch, attention=True, batch_sharding=now.divided)
