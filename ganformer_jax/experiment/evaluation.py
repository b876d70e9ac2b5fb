"""Inputs of `evaluate`: images of a run, reference images, and networks for metrics."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from ganformer_jax.caches import caches
from ganformer_jax.captions import load_tokenizer
from ganformer_jax.classes import CLASSES_FILE
from ganformer_jax.conditions import load_condition_names
from ganformer_jax.config.files import CONFIG_FILE, load_config
from ganformer_jax.convert.state_dict import read_state_dict
from ganformer_jax.data.batches import DatasetSource
from ganformer_jax.data.find import is_prepared
from ganformer_jax.data.folders import open_folder, opens_as_dataset
from ganformer_jax.data.sources.open import open_source
from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.component_edits import MeasuredEdit
from ganformer_jax.evaluate.evaluation import TrainedGenerator
from ganformer_jax.evaluate.features import NetworkSettings
from ganformer_jax.evaluate.image_sets import (
    ImageSet,
    dataset_images,
    sample_indices,
    sample_labels,
    source_images,
)
from ganformer_jax.evaluate.weights import load_weights
from ganformer_jax.experiment.data import open_scenes
from ganformer_jax.experiment.kind_data import data_of_run, open_run
from ganformer_jax.experiment.scene_captions import described_scenes
from ganformer_jax.models import Generator, without_words
from ganformer_jax.sampling import ImageLatents, Sampler, Synthesizer, swap_components
from ganformer_jax.train.devices import Placement


def metric_networks(
    placement: Placement,
    batch_size: int,
    files: Mapping[str, pathlib.Path | None] | None = None,
    cached: bool = True,
) -> NetworkSettings:
    """Return settings of the networks behind metrics; the batch is rounded up to the devices."""
    load = functools.partial(load_weights, read=read_state_dict, files=files)
    return NetworkSettings(
        load,
        placement.rounded(batch_size),
        placement.batch,
        caches() / "features" if cached else None,
    )


@dataclasses.dataclass(frozen=True)
class Reading:
    """Options of reading stored images, as `open_source` and `decode` take them.

    Attributes:
        split: Split of a dataset.
        array: Name of the array of images in an npz or HDF5 file.
        value_range: Values of black and white.
        follow_links: Whether links in a folder are followed.
    """

    split: str = "train"
    array: str | None = None
    value_range: tuple[float, float] | None = None
    follow_links: bool = False


def stored_images(where: pathlib.Path, reading: Reading = Reading()) -> ImageSet:
    """Open images of one size: a prepared dataset, or anything that `prepare` reads.

    Raises:
        UserError: If nothing is found there, or it has no images.
    """
    if is_prepared(where) and opens_as_dataset(where):
        return dataset_images(open_folder(where, reading.split))
    source = open_source(
        os.fspath(where),
        array=reading.array,
        split=reading.split,
        follow_links=reading.follow_links,
    )
    return source_images(source, reading.value_range)


def reference_images(
    run: pathlib.Path, real: pathlib.Path | None = None, reading: Reading = Reading()
) -> ImageSet:
    """Open the real images, from a source if one is given, else from the run's dataset."""
    if real is None:
        return dataset_images(_dataset_of(run, reading.split))
    return stored_images(real, reading)


def labeled_dataset(
    run: pathlib.Path, real: pathlib.Path | None, split: str, classes: int
) -> DatasetSource | None:
    """Return the dataset from which generated images take their labels; None without labels.

    It is the run's dataset, unless `real` is a prepared dataset with the same labels, such as the
    same dataset in another folder.
    """
    if not classes:
        return None
    if real is not None and is_prepared(real) and opens_as_dataset(real):
        dataset = open_folder(real, split)
        if _has_labels_of(dataset, run, classes):
            return dataset
    return _dataset_of(run, split)


def _has_labels_of(dataset: DatasetSource, run: pathlib.Path, count: int) -> bool:
    """Return whether a dataset has the labels that a run was trained on, as far as it is known."""
    names = load_condition_names(run, count)
    if names is not None:
        tokenizer = load_tokenizer(run)
        text = tokenizer.text if tokenizer else ""
        return (list(dataset.condition_names), dataset.tokenizer) == (names, text)
    may_be_conditions = not (run / CLASSES_FILE).exists()  # not said of weights that were imported
    return dataset.label_count == count and (may_be_conditions or not dataset.condition_names)


def scenes_of_run(
    run: pathlib.Path, real: pathlib.Path | None = None
) -> tuple[DatasetSource, DatasetSource]:
    """Open the scenes of a run as `open_scenes`, from `real` if it is their dataset, moved."""
    if real is not None and is_prepared(real) and opens_as_dataset(real):
        config, train = load_config(run / CONFIG_FILE), open_folder(real, "train")
        same_size = train.size == config.generator.image_size
        if same_size and train.name == f"{config.data.name} (train)":
            return train, open_folder(real, "test")
    return open_scenes(run)


def held_out_source(run: pathlib.Path) -> DatasetSource:
    """Return the held-out images that a run of a translation translates.

    Raises:
        UserError: If its dataset is not where the run says.
    """
    hint = "if it was moved, put it or a link to it back, as --real names images to compare with"
    return _explained(run, lambda: data_of_run(run).sets["source"].held_out_source(), hint)


def _dataset_of(run: pathlib.Path, split: str) -> DatasetSource:
    return _explained(run, lambda: open_run(run, split))


def _explained(
    run: pathlib.Path,
    open_dataset: Callable[[], DatasetSource],
    hint: str = "if it was moved, name its folder with --real",
) -> DatasetSource:
    """Open a dataset of a run; an error has a hint for a dataset that was moved."""
    try:
        return open_dataset()
    except UserError as error:
        raise UserError(f"the dataset of {run}: {error}; {hint}") from error


def on_every_device(weights: Any, networks: NetworkSettings) -> Any:
    """Return weights on all devices that run the networks of `metric_networks`."""
    assert networks.sharding is not None
    everywhere = jax.sharding.NamedSharding(networks.sharding.mesh, jax.sharding.PartitionSpec())
    return jax.device_put(weights, everywhere)


def generated_images(
    run: pathlib.Path,
    network: Generator,
    variables: Mapping[str, Any],
    networks: NetworkSettings,
    *,
    noise: Literal["const", "random", "none"] = "random",
    truncation_psi: float = 1.0,
    seed: int = 0,
    dataset: DatasetSource | None = None,
) -> tuple[ImageSet, TrainedGenerator]:
    """Return the images of a run's generator, and the generator; image i has seed `seed` + i.

    Images of a conditional generator have the classes or conditions of images of a dataset.
    """
    variables = on_every_device(variables, networks)
    sampler = Sampler(
        network.config, networks.batch_size, noise=noise, batch_sharding=networks.sharding
    )

    def arguments(indices: Sequence[int]) -> tuple[Any, ...]:
        seeds = [seed + index for index in indices]
        labels = None if dataset is None else sample_labels(dataset, seeds)
        return variables, seeds, labels, truncation_psi

    def components(indices: Sequence[int], attention: bool) -> tuple[Any, ...]:
        images, w, maps = dataclasses.replace(sampler, attention=attention)(*arguments(indices))
        return images, np.asarray(without_words(jnp.asarray(w), network.config.words)), maps

    synthesizer = Synthesizer(
        network.config, networks.batch_size, noise, True, batch_sharding=networks.sharding
    )

    def edited(indices: Sequence[int], edit: MeasuredEdit | None) -> tuple[Any, ...]:
        if network.config.merge.images:
            raise ValueError("images that are merged have no components to edit")
        return synthesizer(variables, _edit(synthesizer.latents(*arguments(indices)), edit))

    conditions, described = None, None
    if dataset is not None and network.config.label_size:
        conditions = functools.partial(_label_vectors, dataset, seed)
        if dataset.description is not None:
            described = functools.partial(_described, dataset, seed)
    images = ImageSet(f"images of {run}", None, lambda indices: sampler.images(*arguments(indices)))
    return images, TrainedGenerator(network, variables, components, edited, conditions, described)


def _edit(latents: ImageLatents, edit: MeasuredEdit | None) -> ImageLatents:
    """Apply an edit; `swap` takes the latents of the next image, and of the first for the last.

    Raises:
        ValueError: If there is a single image.
    """
    if edit is None:
        return latents
    kind, component = edit
    if kind == "remove":
        return latents.without(component)
    if len(latents) < 2:
        raise ValueError("needs two images or more, which swap components")
    w_BxKxLxD = latents.w_BxKxLxD
    return latents.with_w(swap_components(w_BxKxLxD, np.roll(w_BxKxLxD, -1, 0), [component]))


def _described(dataset: DatasetSource, seed: int, indices: Sequence[int]) -> list[Any]:
    """Return the scenes whose captions the images of these indices have."""
    return described_scenes(dataset, sample_indices(dataset, [seed + i for i in indices]))


def _label_vectors(dataset: DatasetSource, seed: int, indices: Sequence[int]) -> np.ndarray:
    """Return classes, one-hot, or conditions of images, as training has them."""
    labels = np.stack(sample_labels(dataset, [seed + index for index in indices]))
    if dataset.condition_names:
        return labels
    return np.eye(dataset.label_count, dtype=np.float32)[labels]
