"""Prepared datasets, and batches of their images, made with Grain.

A dataset is a folder of ArrayRecord files in the layout of TensorFlow Datasets (TFDS), with a
feature ``image`` and optionally a class ``label`` or a ``condition``. TensorFlow is not needed.
"""

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import grain
import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8

from ganformer_jax.data.examples import decode_example
from ganformer_jax.data.find import (
    Records,
    condition_names,
    find_builder,
    open_split,
    tokenizer_text,
)
from ganformer_jax.data.reading import read_all
from ganformer_jax.errors import UserError


@dataclass(frozen=True)
class Description:
    """Conditions that are computed from other features of an image instead of being stored.

    Attributes:
        features: Names of the features that they are computed from.
        describe: Function from these features of an example to its condition, float32.
    """

    features: tuple[str, ...]
    describe: Callable[[Mapping[str, Any]], np.ndarray]


@dataclass(frozen=True)
class DatasetSource:
    """The images of one split, read by index; safe to share between threads.

    Attributes:
        name: Name of the dataset and split, for messages.
        records: Serialized examples, by index.
        features: TFDS features of an example.
        size: Height and width of every image in pixels.
        channels: 1 for gray, 3 for color, 4 for color and opacity; other numbers for arrays.
        label_count: Number of classes, or length of a condition; 0 without labels.
        class_names: Names of the classes, in order; empty without classes.
        fingerprint: Checksum of the dataset if `prepare` wrote it; "" otherwise.
        condition_names: Names of the numbers of a condition, in order; empty without conditions.
        tokenizer: Contents of tokenizer.json if the conditions are captions; "" otherwise.
        description: How conditions are computed; None if they are stored.
    """

    name: str
    records: Sequence[bytes] | Records
    features: tfds.features.FeaturesDict
    size: tuple[int, int]
    channels: int
    label_count: int
    class_names: tuple[str, ...] = ()
    fingerprint: str = ""
    condition_names: tuple[str, ...] = ()
    tokenizer: str = ""
    description: Description | None = None

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """Return an image and its label.

        Returns:
            ``images``, uint8 [H, W, C], and ``labels``, float32 [label_count], one-hot or the
            condition.
        """
        example = decode_example(self._trained_on, self.records[index])
        shape, wanted = example["image"].shape, (*self.size, self.channels)
        if shape != wanted:
            raise UserError(
                f"{self.name} holds images of shape {'x'.join(map(str, shape))}, not "
                f"{'x'.join(map(str, wanted))}; prepare it again or change the resolution"
            )
        if self.condition_names:
            labels = self._condition(example)
        else:
            labels = np.zeros(self.label_count, np.float32)
            if self.label_count:
                labels[self._class(example)] = 1.0
        return {"images": example["image"], "labels": labels}

    def label(self, index: int) -> int | np.ndarray:
        """Return the class of image ``index``, or its condition, without decoding it."""
        stored = self.part(index, self._label_features)
        return self._condition(stored) if self.condition_names else self._class(stored)

    def record(self, index: int) -> dict[str, Any]:
        """Return all features of example ``index``; scenes also have masks and attributes."""
        return decode_example(self.features, self.records[index])

    def part(self, index: int, names: Sequence[str]) -> dict[str, Any]:
        """Return the named features of example ``index`` without decoding the others."""
        features = tfds.features.FeaturesDict({name: self.features[name] for name in names})
        return decode_example(features, self.records[index])

    def _class(self, example: Mapping[str, Any]) -> int:
        number = int(example["label"])
        if number < 0:  # which TFDS allows
            raise UserError(
                f"{self.name} has images without a class: run `prepare` on it to leave them out"
            )
        return number

    def _condition(self, example: Mapping[str, Any]) -> np.ndarray:
        if self.description is not None:
            return self.description.describe(example)
        return np.asarray(example["condition"], np.float32)

    @property
    def _label_features(self) -> tuple[str, ...]:
        """Names of the features that decide the label."""
        if self.description is not None:
            return self.description.features
        return ("condition",) if self.condition_names else ("label",)

    @functools.cached_property
    def _trained_on(self) -> tfds.features.FeaturesDict:
        wanted = ("image", *self._label_features) if self.label_count else ("image",)
        return tfds.features.FeaturesDict({name: self.features[name] for name in wanted})


def open_dataset(
    dataset: str | os.PathLike,
    data_dir: str | os.PathLike,
    *,
    size: tuple[int, int],
    split: str = "train",
    channels: int = 3,
) -> DatasetSource:
    """Open a split of a prepared dataset.

    Args:
        dataset: One of `config.training.RENDERED`, already rendered; or a folder prepared by TFDS
            (the one with dataset_info.json, or its parent), which may be a `gs://` path; or the
            name of a TFDS dataset prepared in `data_dir`.
        data_dir: Folder of prepared datasets.
        size: Height and width of the images in pixels; equal for scenes.
        split: Split in TFDS's notation, slices such as `"train[:90%]"` included.
        channels: Number of channels of the images.

    Raises:
        UserError: If the dataset or split is absent or empty, is not stored as ArrayRecord, has
            no uint8 ``image``, or has images of another shape.
    """
    builder = find_builder(os.fspath(dataset), Path(data_dir), size)
    name = f"{builder.name} ({split})"
    features = builder.info.features
    records = open_split(builder, split)
    if not isinstance(features, tfds.features.FeaturesDict) or "image" not in features:
        raise UserError(f"{name} has no 'image' feature, so it cannot be trained on")
    image: Any = features["image"]
    if not holds_images(image):
        raise UserError(f"{name}: the 'image' feature must be uint8 images, it is {image}")
    conditions = condition_names(builder)
    classes = () if conditions else _class_names(features)
    fingerprint = str((builder.info.metadata or {}).get("fingerprint", ""))
    source = DatasetSource(
        name=name,
        records=records,
        features=features,
        size=size,
        channels=channels,
        label_count=len(classes or conditions),
        class_names=classes,
        fingerprint=fingerprint,
        condition_names=conditions,
        tokenizer=tokenizer_text(builder),
    )
    _ = source[0]  # the declared shape may be unknown, so look at an image
    return source


class Source(Protocol):
    """Named arrays for each index, including `images`; safe to share between threads."""

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """Return the arrays of an image."""
        ...


def train_batches(
    source: Source,
    *,
    batch_size: int,
    seed: int,
    images_seen: int = 0,
    mirror: bool = False,
    host_index: int = 0,
    host_count: int = 1,
    threads: int = 4,
) -> Iterator[dict[str, np.ndarray]]:
    """Yield shuffled batches forever, in an order that depends on the arguments alone.

    Images are shuffled anew in every epoch, and mirrored one by one, before batches are divided
    among hosts, so the global batches are the same for any number of hosts: a batch consists of one
    block of rows per host, all of the same length, and each host reads its own block only.

    Args:
        source: Source of the images.
        batch_size: Number of images in a global batch, a multiple of ``host_count``.
        seed: Seed of the order and the mirroring.
        images_seen: Number of images to skip, without reading them: those of earlier batches.
        mirror: Whether to mirror each image left to right with probability one half.
        host_index: This host's number, 0 <= host_index < host_count.
        host_count: Number of hosts that share the batches.
        threads: Number of threads that read and decode ahead; 0 reads on demand.

    Yields:
        ``images``: uint8 [batch_size / host_count, H, W, C]; ``labels``: float32
        [batch_size / host_count, label_count], one-hot or conditions, of zero width without them.

    Raises:
        UserError: If ``host_count`` does not divide ``batch_size``, or there are no images.
    """
    if batch_size < 1 or batch_size % host_count:
        raise UserError(
            f"the batch size must be a multiple of the number of hosts: {batch_size} over "
            f"{host_count}"
        )
    if not len(source):
        raise UserError("there are no images to make batches of")
    if not 0 <= host_index < host_count:
        raise ValueError(f"host_index must be in 0..{host_count - 1}, got {host_index}")
    dataset = grain.MapDataset.source(source).seed(seed).shuffle().repeat()
    if mirror:
        dataset = dataset.random_map(_mirror_half)
    step, images = divmod(images_seen, batch_size)
    if images:  # an earlier batch had another size
        dataset = dataset[images:]
    # Without dropping, Grain rounds the number of batches in floating point, to more than an index
    # can be if a batch is one image.
    dataset = dataset.batch(batch_size // host_count, drop_remainder=True)
    dataset = dataset[host_index::host_count]
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(1, 2 * threads))
    iterator = iter(dataset.to_iter_dataset(options))
    iterator.set_state({"next_index": step})
    return iterator


def held_out_images(source: DatasetSource, count: int) -> UInt8[np.ndarray, "m h w c"]:
    """Return the first ``count`` images, in stored order and never mirrored.

    Raises:
        UserError: If the source holds fewer.
    """
    if not 1 <= count <= len(source):
        raise UserError(f"{source.name} holds {len(source)} images; {count} were requested")
    return read_images(source, range(count))


def read_images(source: DatasetSource, indices: Iterable[int]) -> UInt8[np.ndarray, "m h w c"]:
    """Return the images at these indices, never mirrored."""
    return np.stack(read_all(lambda index: source[index]["images"], indices))


def _mirror_half(
    item: dict[str, np.ndarray], generator: np.random.Generator
) -> dict[str, np.ndarray]:
    if generator.random() < 0.5:
        return item
    image = item["images"]
    mirrored = np.empty(image.shape, image.dtype)
    for channel in range(image.shape[-1]):  # much faster than all channels at once
        mirrored[..., channel] = image[:, ::-1, channel]
    flipped = {"layouts": item["layouts"][:, ::-1]} if "layouts" in item else {}
    return {**item, "images": mirrored, **flipped}


def holds_images(feature: Any) -> bool:
    """Return whether a feature holds uint8 images, or arrays [H, W, C] of channels."""
    shape: Any = feature.shape
    is_array = type(feature) is tfds.features.Tensor and len(shape) == 3
    return feature.np_dtype == np.uint8 and (is_array or isinstance(feature, tfds.features.Image))


def _class_names(features: tfds.features.FeaturesDict) -> tuple[str, ...]:
    label = features["label"] if "label" in features else None
    if not isinstance(label, tfds.features.ClassLabel) or not label.num_classes:
        return ()
    return tuple(label.names)
