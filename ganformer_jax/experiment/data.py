"""The data of an experiment, which is opened, and for scenes rendered, on first use."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ganformer_jax import hosts
from ganformer_jax.captions import save_tokenizer, vocabulary_of
from ganformer_jax.classes import classes_in_turn, save_class_names
from ganformer_jax.conditions import save_condition_names
from ganformer_jax.config import Config
from ganformer_jax.config.files import CONFIG_FILE, load_config
from ganformer_jax.data.batches import DatasetSource, held_out_images, open_dataset, train_batches
from ganformer_jax.data.folders import open_held_out
from ganformer_jax.data.layouts import LayoutSource
from ganformer_jax.data.reading import read_all
from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.image_sets import sample_labels

CLASSES_READ = 1000
"""Number of images whose classes are checked first, if `prepare` did not make the dataset."""


class ExperimentData:
    """The dataset of an experiment; raises `UserError` if no dataset can fit the config."""

    def __init__(self, config: Config):
        self.config = config
        for option in ("name", "directory"):
            if not getattr(config.data, option):
                raise UserError(f"data.{option} is empty: give it a value, or leave it out")
        if "://" in config.data.directory:
            hint = "is not on this machine: give data.name the whole gs:// path of the dataset"
            raise UserError(f"data.directory {config.data.directory} {hint}")
        height, width = config.generator.image_size
        if config.data.rendered and height != width:
            hint = "give data.name, or equal sizes (of a GAN, by generator.base_grid)"
            raise UserError(f"scenes are square, not {height}x{width}: {hint}")
        if config.data.rendered and config.generator.image_channels != 3:
            count = config.generator.image_channels
            raise UserError(f"scenes have 3 channels, not {count}: give data.name, or 3 channels")
        if config.data.held_out_pairs and not self._described:
            raise UserError(
                "data.held_out_pairs is about captions of scenes, which are not read here: set it "
                "to False"
            )
        if self._described:
            from ganformer_jax.experiment.scene_captions import check_scene_captions

            check_scene_captions(config.generator)
            if config.data.mirror:
                raise UserError(
                    "data.mirror mirrors images, but not what captions of scenes say of left and "
                    "right: set it to False"
                )

    @functools.cached_property
    def _described(self) -> bool:
        """Return whether labels are captions of built-in scenes, or the facts that these state."""
        if not (self.config.data.rendered and self.config.generator.label_size):
            return False
        from ganformer_jax.experiment.scene_captions import describes_scenes

        return describes_scenes(self.config.generator)

    @functools.cached_property
    def folder(self) -> str:
        """Name or folder of the prepared dataset."""
        data, resolution = self.config.data, self.config.generator.resolution
        if not data.rendered:
            return data.name
        from ganformer_jax.scenes.dataset import prepare_scenes

        def prepare() -> str:
            scenes = prepare_scenes(
                data.directory,
                resolution,
                count=data.train_images,
                held_out=data.held_out_images,
                name=data.name,
            )
            return str(scenes.data_path)

        hosts.first(prepare)  # on a shared disk, the others find the result of the first one
        return prepare()

    @functools.cache  # noqa: B019 - lives as long as the process
    def open(self, split: str) -> DatasetSource:
        """Open a split at the size of the generator's images."""
        generator = self.config.generator
        source = open_dataset(
            self.folder,
            self.config.data.directory,
            size=generator.image_size,
            split=split,
            channels=generator.image_channels,
        )
        if self._described:
            from ganformer_jax.experiment.scene_captions import (
                with_scene_captions,
                without_held_out,
            )

            if self.config.data.held_out_pairs and split == "train":
                source = without_held_out(source)
            source = with_scene_captions(source, generator)
        if generator.label_size:
            self._check_captions(source)
        if generator.label_size not in (0, source.label_count):
            count, given = source.label_count, f"generator.label_size is {generator.label_size}"
            hint = f"set --generator.label-size {count}"
            has = f"conditions of {count} numbers" if source.condition_names else f"{count} classes"
            raise UserError(f"{given}, but {source.name} has {has}: {hint}")
        if generator.label_size and source.condition_names:
            self._check_label_logit(source)
        elif generator.label_size and not source.fingerprint:
            for index in range(0, len(source), max(1, len(source) // CLASSES_READ)):
                source.label(index)  # an image without a class would end training later
        return source

    def _check_captions(self, source: DatasetSource) -> None:
        """Raise UserError if labels are captions that the networks do not read, or vice versa."""
        generator = self.config.generator
        given = generator.label_size, generator.text.vocabulary
        if not source.tokenizer:
            if given[1]:
                raise UserError(
                    f"generator.text.vocabulary is {given[1]}, but {source.name} has no captions: "
                    "prepare it with --captions, or leave the options of text out"
                )
            return
        needed = source.label_count, vocabulary_of(source.tokenizer)
        if given != needed:
            raise UserError(
                f"generator.label_size is {given[0]} and generator.text.vocabulary {given[1]}, but "
                f"captions of {source.name} have up to {needed[0]} tokens of {needed[1]}: set "
                f"--generator.label-size {needed[0]} --generator.text.vocabulary {needed[1]} "
                f"--discriminator.text.vocabulary {needed[1]}"
            )

    def _check_label_logit(self, source: DatasetSource) -> None:
        """Raise UserError if a condition of zeros would hide an image from the discriminator."""
        if self.config.discriminator.label_logit == "class":
            hint = "set --discriminator.label-logit projection"
            raise UserError(f"{source.name} has conditions, not classes: {hint}")

    def check(self) -> None:
        """Check that the dataset can be opened, without rendering scenes.

        Raises:
            UserError: If it cannot, or if processes see different numbers of images.
        """
        if not self.config.data.rendered:
            counts = {"training": len(self.open("train")), "held-out": self.held_out_count()}
            hosts.check_equal({f"the number of {n} images": c for n, c in counts.items()})

    def tokenizer(self) -> str:
        """Return the tokenizer.json of captions, without rendering scenes; "" if there are none."""
        if not self.config.data.rendered:
            return self.open("train").tokenizer
        if not self.config.generator.text.vocabulary:
            return ""
        from ganformer_jax.experiment.scene_captions import scene_tokenizer

        return scene_tokenizer().text

    def image_sets(self) -> Sequence[ExperimentData]:
        """Return these images, with which generated images are compared."""
        return [self]

    def training_images(self) -> int:
        """Return the number of training images, without rendering scenes."""
        data = self.config.data
        known = data.rendered and not data.held_out_pairs
        return data.train_images if known else len(self.open("train"))

    def batches(
        self, images_seen: int, source: LayoutSource | None = None
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yield this process's share of the training batches after `images_seen` images.

        Args:
            images_seen: Images that this experiment has seen.
            source: The same images with additional features; by default the training split.
        """
        return train_batches(
            source or self.open("train"),
            batch_size=self.config.train.batch_size,
            seed=self.config.train.seed,
            images_seen=images_seen,
            mirror=self.config.data.mirror,
            host_index=hosts.device_index(),
            host_count=hosts.count(),
            threads=self.config.data.threads,
        )

    def identity(self) -> dict[str, str]:
        """Return the checksum of a dataset that `prepare` made, by the option that names it."""
        if self.config.data.rendered:
            return {}
        fingerprint = self.open("train").fingerprint
        return {"data.name": fingerprint} if fingerprint else {}

    def labels(self, indices: Sequence[int]) -> list[Any] | None:
        """Return classes or conditions of real images, in a fixed order, for generated ones.

        None if the generator takes no labels.
        """
        if not self.config.generator.label_size:
            return None
        return sample_labels(self.open("train"), indices)

    def grid_labels(self, count: int) -> list[Any] | None:
        """Return labels for a grid of samples: the classes in turn, or conditions of images."""
        size = self.config.generator.label_size
        if size and self.open("train").condition_names:
            return self.labels(range(count))
        return classes_in_turn(count, size)

    def save_label_names(self, run: pathlib.Path) -> None:
        """Write the names of classes or conditions, or the tokens of captions, to a run's folder.

        Nothing is written by other processes than the first, or without labels.
        """
        if not self.config.generator.label_size:
            return
        source = self.open("train")  # by all processes: it may render scenes
        if not hosts.is_first():
            return
        if source.tokenizer:
            save_tokenizer(source.tokenizer, run)
        if source.condition_names:
            save_condition_names(source.condition_names, run)
        else:
            save_class_names(source.class_names, run)

    def held_out(self, count: int) -> np.ndarray:
        """Return at most `count` images to compare with, the first of `held_out_source`."""
        source = self.held_out_source()
        return held_out_images(source, min(count, len(source)))

    def held_out_labels(self, count: int) -> list[Any] | None:
        """Return the labels of these images; None if the generator takes none."""
        if not self.config.generator.label_size:
            return None
        source = self.held_out_source()
        return read_all(source.label, range(min(count, len(source))))

    def held_out_count(self) -> int:
        """Return the number of images of `held_out_source`, without rendering scenes."""
        data = self.config.data
        return data.held_out_images if data.rendered else len(self.held_out_source())

    def held_out_source(self) -> DatasetSource:
        """Return the test split, else that of validation, else that of training."""
        return open_held_out(self.open)


def open_scenes(run: pathlib.Path) -> tuple[DatasetSource, DatasetSource]:
    """Open the scenes of a run, training and test split, for the network that segments them.

    They include the scenes that `data.held_out_pairs` leaves out of training.
    """
    config = load_config(run / CONFIG_FILE)
    every = dataclasses.replace(config.data, held_out_pairs=False)
    data = ExperimentData(dataclasses.replace(config, data=every))
    return data.open("train"), data.open("test")
