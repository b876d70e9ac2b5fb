"""Nearest training images of the samples of a run."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from ganformer_jax.config import Config
from ganformer_jax.config.files import CONFIG_FILE, load_experiment
from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.features import NetworkSettings, feature_reader
from ganformer_jax.evaluate.image_sets import ImageSet
from ganformer_jax.evaluate.neighbors import Neighbors, find_neighbors
from ganformer_jax.evaluate.requests import RANDOM, TRAINED
from ganformer_jax.experiment.evaluation import generated_images, labeled_dataset, reference_images
from ganformer_jax.models import Generator
from ganformer_jax.scenes.dataset import scenes_are_prepared

NAMES = {RANDOM: "Inception with random weights", TRAINED: "FID's Inception"}
"""Networks in words."""
NEAREST = 5
"""Training images for each sample."""


def neighbors_of_run(
    run: pathlib.Path,
    load: Callable[[pathlib.Path], tuple[Generator, Mapping[str, Any]]],
    networks: NetworkSettings,
    network: str,
    *,
    samples: int,
    searched: int,
    real: pathlib.Path | None = None,
) -> Neighbors:
    """Sample from the newest checkpoint of a run, and search its training images.

    Args:
        run: The run's folder.
        load: Loads the generator of a run and its variables: `load.load_run`.
        networks: Settings of the feature networks.
        network: The one to use: `requests.RANDOM` or `requests.TRAINED`.
        samples: Number of generated images, of seeds 0, 1, ...
        searched: Number of training images to search, the first ones.
        real: Training images, if the run's dataset was moved.

    Raises:
        UserError: If the run is not of a GAN, or there is no checkpoint or no dataset; scenes are
            not rendered for it.
    """
    config = load_experiment(run / CONFIG_FILE)
    if not isinstance(config, Config):
        raise UserError("only samples of GANs are compared with training images")
    if not any(path.name.isdigit() for path in (run / "checkpoints").glob("*")):
        raise UserError("the run has no checkpoint yet")
    reference = _training_images(run, config, real)
    generator, variables = load(run)
    labeled = labeled_dataset(run, real, "train", generator.config.label_size)
    candidate, _ = generated_images(run, generator, variables, networks, dataset=labeled)
    reader = feature_reader(network, networks)
    counts = {"samples": samples, "nearest": NEAREST, "searched": searched}
    return find_neighbors(candidate, reference, reader, NAMES[network], **counts)


def _training_images(run: pathlib.Path, config: Config, real: pathlib.Path | None) -> ImageSet:
    """Open the training images; raise UserError if they are not here."""
    data, resolution = config.data, config.generator.resolution
    if real is None and data.rendered:
        if not scenes_are_prepared(
            data.directory,
            resolution,
            count=data.train_images,
            held_out=data.held_out_images,
            name=data.name,
        ):
            hint = "start the command where the run was started, or name a dataset with --real"
            raise UserError(f"the run's scenes are not in {data.directory}: {hint}")
    return reference_images(run, real)
