"""Finds datasets that were prepared before, and opens their splits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from ganformer_jax.errors import UserError


def find_builder(dataset: str, data_dir: Path, size: tuple[int, int]) -> tfds.core.DatasetBuilder:
    """Raises UserError, with what to do, unless there is exactly one match."""
    if "://" in dataset:
        raise UserError(
            f"{dataset}: datasets are read from folders; copy it to a local disk, or mount the "
            "bucket with gcsfuse"
        )
    if dataset == "scenes":
        dataset = os.fspath(_find_scenes(data_dir, size))
    if Path(dataset).is_dir():
        return tfds.builder_from_directory(find_version(Path(dataset)))
    try:
        builder = tfds.builder(dataset, data_dir=os.fspath(data_dir))
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise UserError(
            f"there is no dataset {dataset!r} in {data_dir}: name a prepared folder, a TFDS "
            "dataset, or 'scenes'"
        ) from error
    if not builder.is_prepared():
        raise UserError(f"{dataset} is not prepared in {data_dir}; prepare it first")
    return builder


def find_version(folder: Path) -> Path:
    """The folder with dataset_info.json: the given one, or the only version in it.

    Raises:
        UserError: if there is none, or a choice.
    """
    if (folder / "dataset_info.json").is_file():
        return folder
    versions = sorted(path.parent for path in folder.glob("[0-9]*.*.*/dataset_info.json"))
    if len(versions) == 1:
        return versions[0]
    if versions:
        choices = ", ".join(map(str, versions))
        raise UserError(f"{folder} holds several versions; name one of these: {choices}")
    raise UserError(f"{folder} is not a dataset that TFDS prepared: no dataset_info.json in it")


def is_prepared(folder: Path) -> bool:
    """Whether a folder is a prepared dataset, or holds one version of one."""
    try:
        find_version(folder)
    except UserError:
        return False
    return True


def _find_scenes(data_dir: Path, size: tuple[int, int]) -> Path:
    """The folder of the one prepared set of scenes of this size."""
    resolution = max(size)
    if min(size) != resolution:
        raise UserError(f"scenes are square, not {size[0]}x{size[1]}; use a dataset of your own")
    found = sorted(data_dir.glob(f"scenes/{resolution}px_*/*/dataset_info.json"))
    folders = [path.parent for path in found if "incomplete" not in path.parent.name]
    if not folders:
        raise UserError(
            f"no scenes at {resolution}x{resolution} in {data_dir}; prepare them first, at "
            f"resolution {resolution}"
        )
    if len(folders) > 1:
        choices = ", ".join(map(str, folders))
        raise UserError(f"several sets of scenes fit; give one of these as the dataset: {choices}")
    return folders[0]


def open_split(builder: Any, split: str) -> Any:
    """The serialised examples of a split, by index."""
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    if split.split("[")[0] not in builder.info.splits:
        choices = ", ".join(builder.info.splits) or "none"
        raise UserError(f"{builder.name} has no split {split!r}; it has: {choices}")
    if builder.info.splits[split].num_examples == 0:
        raise UserError(
            f"{builder.name} ({split}) is empty; choose another split or prepare it again"
        )
    try:
        return builder.as_data_source(split, deserialize_method=raw)
    except (NotImplementedError, ValueError) as error:
        raise UserError(
            f"{builder.name} ({split}) cannot be read by index; prepare it with "
            "file_format='array_record'"
        ) from error
