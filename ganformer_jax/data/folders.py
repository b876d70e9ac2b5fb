"""Prepared datasets opened by their folder alone, and the choice of a held-out split."""

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
    """Open the test split; without one, the validation split; without either, the training split.

    An existing split that cannot be read is an error, because a metric on other images would not
    be comparable.
    """
    for split in ("test", "validation"):
        with contextlib.suppress(NoSplit):
            return open_split(split)
    return open_split("train")


def opens_as_dataset(folder: pathlib.Path) -> bool:
    """Return whether `open_folder` can read a dataset that TFDS prepared.

    It can if the dataset is stored as ArrayRecord and declares uint8 images of one size. Other
    datasets have to be converted by `prepare`.
    """
    import tensorflow_datasets as tfds

    folder = find_version(folder)
    builder: Any = open_builder(folder)
    is_indexed = builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD
    return is_indexed and all(_image_shape(folder))


def open_folder(folder: pathlib.Path, split: str) -> DatasetSource:
    """Open a split of a prepared dataset of images of one size by its folder alone."""
    folder = find_version(folder)
    shape = _image_shape(folder)
    if not all(shape):
        raise UserError(f"{folder} does not declare the size of its images: run `prepare` on it")
    return open_dataset(folder, folder, size=shape[:2], split=split, channels=shape[-1])


def _image_shape(folder: pathlib.Path) -> tuple[Any, ...]:
    """Return the height, width and channels of a dataset's images; None for those that vary."""
    features: Any = open_builder(folder).info.features
    image = features["image"] if features and "image" in features else None
    return image.shape if image is not None and holds_images(image) else (None, None, None)
