"""Images of runs other than GANs, in the form that metrics take."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ganformer_jax.evaluate.features import NetworkSettings
from ganformer_jax.evaluate.image_sets import ImageSet, sample_labels
from ganformer_jax.experiment.evaluation import held_out_source, labeled_dataset, on_every_device
from ganformer_jax.experiment.ganformer2.scene_files import load_scenes
from ganformer_jax.experiment.prior.sample_files import check_drawing, load_prior
from ganformer_jax.experiment.translation.image_files import load_translators
from ganformer_jax.sampling.planned_scenes import SceneSampler
from ganformer_jax.sampling.priors import PriorSampler
from ganformer_jax.sampling.translations import ImageTranslator


class CheckpointImages(NamedTuple):
    """Images of a checkpoint, their number of channels, and its progress in training."""

    images: ImageSet
    channels: int
    step: int
    images_seen: int


class CheckpointSampling(NamedTuple):
    """A checkpoint of a run, and how its images are made.

    Attributes:
        run: Folder of the run.
        step: Step of the checkpoint; None for the newest that is not damaged.
        best: Use the checkpoint with the best metric instead.
        seed: Seed of image 0; the next images have the next seeds.
        networks: Settings with the batch and devices that images are made with.
        real: Location of the run's dataset, if it was moved.
        split: Split of the dataset from which labels are taken.
    """

    run: pathlib.Path
    step: int | None
    best: bool
    seed: int
    networks: NetworkSettings
    real: pathlib.Path | None = None
    split: str = "train"

    def image_set(
        self, count: int | None, sample: Callable[[Sequence[int]], np.ndarray]
    ) -> ImageSet:
        """Return images, named after the run."""
        return ImageSet(f"images of {self.run}", count, sample)


def images_of_prior(
    sampling: CheckpointSampling, say: Callable[[str], None] = print
) -> CheckpointImages:
    """Return samples of a prior at temperature 1, with labels of its dataset if it has any."""
    run, networks = sampling.run, sampling.networks
    prior = load_prior(run, sampling.step, sampling.best, say)
    check_drawing(prior, 1.0, 0, run)
    classes = prior.config.prior.label_size
    labeled = labeled_dataset(run, sampling.real, sampling.split, classes)
    sampler = PriorSampler(prior.config, networks.batch_size, 0, networks.sharding)
    variables = on_every_device(prior.variables, networks)

    def sample(indices: Sequence[int]) -> np.ndarray:
        seeds = [sampling.seed + index for index in indices]
        labels = None if labeled is None else sample_labels(labeled, seeds)
        return sampler.images(variables, seeds, labels)

    images, channels = sampling.image_set(None, sample), prior.config.autoencoder.image_channels
    return CheckpointImages(images, channels, prior.step, prior.images_seen)


def images_of_scenes(
    sampling: CheckpointSampling, say: Callable[[str], None] = print
) -> CheckpointImages:
    """Return images of the scenes of a GANformer2."""
    networks = sampling.networks
    loaded = load_scenes(sampling.run, sampling.step, sampling.best, say)
    sampler = SceneSampler(loaded.config, networks.batch_size, networks.sharding)
    weights = on_every_device(loaded.weights, networks)

    def sample(indices: Sequence[int]) -> np.ndarray:
        return sampler(weights, [sampling.seed + index for index in indices]).images

    images, channels = sampling.image_set(None, sample), loaded.config.execution.image_channels
    return CheckpointImages(images, channels, loaded.step, loaded.images_seen)


def images_of_translation(
    sampling: CheckpointSampling, say: Callable[[str], None] = print
) -> CheckpointImages:
    """Return translations of the held-out images of the source, in their order."""
    networks = sampling.networks
    loaded = load_translators(sampling.run, sampling.step, sampling.best, say)
    options, source = loaded.config.generator, held_out_source(sampling.run)
    translator = ImageTranslator(options, networks.batch_size, batch_sharding=networks.sharding)
    weights = on_every_device(loaded.params["target"], networks)

    def sample(indices: Sequence[int]) -> np.ndarray:
        images = np.stack([source[index]["images"] for index in indices])
        return translator(weights, images).images

    images = sampling.image_set(len(source), sample)
    return CheckpointImages(images, options.image_channels, loaded.step, loaded.images_seen)


IMAGES_OF: dict[str, Callable[[CheckpointSampling], CheckpointImages]] = {
    "prior": images_of_prior,
    "ganformer2": images_of_scenes,
    "translation": images_of_translation,
}
"""Functions that return the images of a run, by its kind."""
