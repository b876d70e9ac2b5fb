"""Datasets opened by their folder alone, and the split of one that training does not see."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable
from typing import Any, TypeVar

from ganformer_jax.data.batches import DatasetSource, holds_images, open_dataset
from ganformer_jax.data.find import NoSplit, find_version, open_builder
from ganformer_jax.errors import UserError

T = TypeVar("T")


def open_held_out(open_split: Callable[[str], T]) -> T:
    """Open the test split, else that of validation, else that of training.

    A split that is there but cannot be read is an error: other images are another measure.
    """
    for split in ("test", "validation"):
        with contextlib.suppress(NoSplit):
            return open_split(split)
    return open_split("train")


def opens_as_dataset(folder: pathlib.Path) -> bool:
    """Return whether `open_folder` reads a dataset that TFDS prepared.

    It reads ArrayRecords of uint8 images of one size, which the dataset says; other datasets are
    sources that `prepare` reads.
    """
    import tensorflow_datasets as tfds

    folder = find_version(folder)
    builder: Any = open_builder(folder)
    is_indexed = builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD
    return is_indexed and all(_image_shape(folder))


def open_folder(folder: pathlib.Path, split: str) -> DatasetSource:
    """Open a split of a prepared dataset, of images of one size, by its folder alone."""
    folder = find_version(folder)
    shape = _image_shape(folder)
    if not all(shape):
        raise UserError(f"{folder} does not say how large its images are")
    return open_dataset(folder, folder, size=shape[:2], split=split, channels=shape[-1])


def _image_shape(folder: pathlib.Path) -> tuple[Any, ...]:
    """Return height, width and channels of a dataset's images, None for what varies."""
    features: Any = open_builder(folder).info.features
    image = features["image"] if features and "image" in features else None
    return image.shape if image is not None and holds_images(image) else (None, None, None)
