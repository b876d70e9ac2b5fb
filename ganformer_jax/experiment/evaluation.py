"""What `evaluate` measures: images of a run, reference images, and the networks of metrics."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax

from ganformer_jax.caches import caches
from ganformer_jax.convert.state_dict import read_state_dict
from ganformer_jax.data.find import is_prepared
from ganformer_jax.evaluate.evaluation import TrainedGenerator
from ganformer_jax.evaluate.features import NetworkSettings
from ganformer_jax.evaluate.image_sets import ImageSet, dataset_images, folder_images, sample_labels
from ganformer_jax.evaluate.weights import load_weights
from ganformer_jax.experiment.data import open_folder, open_run
from ganformer_jax.models import Generator
from ganformer_jax.sampling import Sampler
from ganformer_jax.train.devices import Placement


def metric_networks(
    placement: Placement,
    batch_size: int,
    files: Mapping[str, pathlib.Path | None] | None = None,
    cached: bool = True,
) -> NetworkSettings:
    """Return settings of the networks behind metrics; the batch is rounded up to the devices."""
    rounded = -(-batch_size // len(placement.devices)) * len(placement.devices)
    load = functools.partial(load_weights, read=read_state_dict, files=files)
    return NetworkSettings(
        load, rounded, placement.batch, caches() / "features" if cached else None
    )


def reference_images(
    run: pathlib.Path, real: pathlib.Path | None = None, split: str = "train"
) -> ImageSet:
    """Open the real images: of a folder, of a prepared dataset, or of the run's dataset."""
    if real is None:
        return dataset_images(open_run(run, split))
    return dataset_images(open_folder(real, split)) if is_prepared(real) else folder_images(real)


def generated_images(
    run: pathlib.Path,
    network: Generator,
    variables: Mapping[str, Any],
    networks: NetworkSettings,
    *,
    noise: Literal["const", "random", "none"] = "random",
    truncation_psi: float = 1.0,
    seed: int = 0,
    split: str = "train",
) -> tuple[ImageSet, TrainedGenerator]:
    """Return the images of a run's generator, and the generator; image i has seed `seed` + i."""
    assert networks.sharding is not None, "metric_networks"
    everywhere = jax.sharding.NamedSharding(networks.sharding.mesh, jax.sharding.PartitionSpec())
    variables = jax.device_put(variables, everywhere)
    dataset = open_run(run, split) if network.config.label_size else None
    sampler = Sampler(
        network.config, networks.batch_size, noise=noise, batch_sharding=networks.sharding
    )

    def arguments(indices: Sequence[int]) -> tuple[Any, ...]:
        seeds = [seed + index for index in indices]
        labels = None if dataset is None else sample_labels(dataset, seeds)
        return variables, seeds, labels, truncation_psi

    def components(indices: Sequence[int], attention: bool) -> tuple[Any, ...]:
        return dataclasses.replace(sampler, attention=attention)(*arguments(indices))

    images = ImageSet(f"images of {run}", None, lambda indices: sampler.images(*arguments(indices)))
    return images, TrainedGenerator(network, variables, components)
