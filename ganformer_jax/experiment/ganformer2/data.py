"""The data of a GANformer2: images with label maps of their segments."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ganformer_jax.config import Config, GeneratorConfig
from ganformer_jax.config.ganformer2 import GANformer2Config
from ganformer_jax.data.folders import open_held_out
from ganformer_jax.data.layouts import LayoutSource
from ganformer_jax.data.reading import read_all
from ganformer_jax.errors import UserError
from ganformer_jax.experiment.data import ExperimentData
from ganformer_jax.scenes.layout import VARIANTS


class GANformer2Data:
    """Images and label maps; raises `UserError` if no dataset can fit the config.

    Attributes:
        images: The images alone, as the data of a GAN on them.
    """

    def __init__(self, config: GANformer2Config):
        self.config = config
        execution = config.execution
        generator = GeneratorConfig(
            resolution=execution.resolution, image_channels=execution.image_channels
        )
        self.images = ExperimentData(
            Config(generator=generator, data=config.data, train=config.train)
        )

    @functools.cache  # noqa: B019 - lives as long as the process
    def open(self, split: str) -> LayoutSource:
        """Open a split."""
        return LayoutSource(self.images.open(split), self.config.planning.segments)

    def check(self) -> None:
        """Check that the dataset has segments, and not too many, without rendering scenes.

        Raises:
            UserError: If it has none or too many, or if processes see different sets.
        """
        data, last = self.config.data, self.config.planning.segments - 1
        if not data.rendered:
            self.open("train").check()
            open_held_out(self.open).check()
        elif (most := VARIANTS[data.name].max_objects) > last:
            raise UserError(
                f"{data.name} have up to {most} objects, but planning has labels 0 to {last}: "
                "raise planning.steps or planning.step_segments"
            )
        self.images.check()

    def image_sets(self) -> Sequence[ExperimentData]:
        """Return the images alone."""
        return [self.images]

    def save_label_names(self, run: pathlib.Path) -> None:
        """Write nothing, as there are no labels."""

    def identity(self) -> Mapping[str, str]:
        """Return the checksum of a dataset that `prepare` made, by the option that names it."""
        return self.images.identity()

    def batches(self, images_seen: int) -> Iterator[dict[str, np.ndarray]]:
        """Yield this process's share of the training batches after `images_seen` images."""
        return self.images.batches(images_seen, self.open("train"))

    def held_out(self, count: int) -> dict[str, np.ndarray]:
        """Return `count` held-out images and label maps, or training ones where there are none."""
        source = open_held_out(self.open)
        rows = read_all(source.__getitem__, range(min(count, len(source))))
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
