"""Images of a run of another kind than a GAN, as metrics take them."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ganformer_jax.evaluate.features import NetworkSettings
from ganformer_jax.evaluate.image_sets import ImageSet, sample_labels
from ganformer_jax.experiment.planned_files import load_scenes
from ganformer_jax.experiment.prior_data import prior_data
from ganformer_jax.experiment.prior_files import check_drawing, load_prior
from ganformer_jax.experiment.translated_files import load_translators
from ganformer_jax.experiment.translation_data import TranslationData
from ganformer_jax.sampling.planned_scenes import SceneSampler
from ganformer_jax.sampling.priors import PriorSampler
from ganformer_jax.sampling.translations import ImageTranslator


class RunImages(NamedTuple):
    """Images of a checkpoint, and how far its training was."""

    images: ImageSet
    step: int
    images_seen: int


class Chosen(NamedTuple):
    """A checkpoint of a run, and how its images are made.

    Attributes:
        run: Folder of the run.
        step: Step of the checkpoint; None for the newest that is not damaged.
        best: Use the checkpoint with the best metric instead.
        seed: Seed of image 0; the next images have the next seeds.
        networks: Whose batch and devices images are made with.
        split: Of the run's dataset, whose labels images take.
    """

    run: pathlib.Path
    step: int | None
    best: bool
    seed: int
    networks: NetworkSettings
    split: str = "train"

    def place(self, weights: Any) -> Any:
        """Return weights on all devices that make images."""
        sharding = self.networks.sharding
        assert sharding is not None, "metric_networks"
        everywhere = jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec())
        return jax.device_put(weights, everywhere)


def images_of_prior(chosen: Chosen, say: Callable[[str], None] = print) -> RunImages:
    """Return samples of a prior, at temperature 1; with labels they have those of its dataset."""
    prior = load_prior(chosen.run, chosen.step, chosen.best, say)
    check_drawing(prior, 1.0, 0, chosen.run)
    labeled = None
    if prior.config.prior.label_size:
        labeled = prior_data(prior.config).open(chosen.split)
    networks = chosen.networks
    sampler = PriorSampler(prior.config, networks.batch_size, 0, networks.sharding)
    variables = chosen.place(prior.variables)

    def sample(indices: Sequence[int]) -> np.ndarray:
        seeds = [chosen.seed + index for index in indices]
        labels = None if labeled is None else sample_labels(labeled, seeds)
        return sampler.images(variables, seeds, labels)

    return RunImages(_named(chosen, None, sample), prior.step, prior.images_seen)


def images_of_scenes(chosen: Chosen, say: Callable[[str], None] = print) -> RunImages:
    """Return images of the scenes of a GANformer2."""
    loaded, networks = load_scenes(chosen.run, chosen.step, chosen.best, say), chosen.networks
    sampler = SceneSampler(loaded.config, networks.batch_size, networks.sharding)
    weights = chosen.place(loaded.weights)

    def sample(indices: Sequence[int]) -> np.ndarray:
        return sampler(weights, [chosen.seed + index for index in indices]).images

    return RunImages(_named(chosen, None, sample), loaded.step, loaded.images_seen)


def images_of_translation(chosen: Chosen, say: Callable[[str], None] = print) -> RunImages:
    """Return translations of the held-out images of the source, in their order."""
    loaded, networks = load_translators(chosen.run, chosen.step, chosen.best, say), chosen.networks
    translator = ImageTranslator(
        loaded.config.generator, networks.batch_size, batch_sharding=networks.sharding
    )
    source = TranslationData(loaded.config).sets["source"].held_out_source()
    weights = chosen.place(loaded.params["target"])

    def sample(indices: Sequence[int]) -> np.ndarray:
        images = np.stack([source[index]["images"] for index in indices])
        return translator(weights, images).images

    return RunImages(_named(chosen, len(source), sample), loaded.step, loaded.images_seen)


def _named(
    chosen: Chosen, count: int | None, sample: Callable[[Sequence[int]], np.ndarray]
) -> ImageSet:
    return ImageSet(f"images of {chosen.run}", count, sample)


IMAGES_OF: dict[str, Callable[[Chosen], RunImages]] = {
    "prior": images_of_prior,
    "ganformer2": images_of_scenes,
    "translation": images_of_translation,
}
"""Functions that return the images of a run, by its kind."""
