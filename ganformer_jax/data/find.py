"""Prepared datasets by name, folder or bucket, and the records of their splits."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from etils import epath

from ganformer_jax.captions import TOKENIZER_FILE
from ganformer_jax.config.training import RENDERED
from ganformer_jax.errors import UserError, one_line
from ganformer_jax.storage import is_transient, with_retries

BUCKET = "gs://"
RAW = tfds.decode.DeserializeMethod.RAW_BYTES
CONDITION_NAMES = "condition_names"  # key in a dataset's metadata
UNFINISHED = "unfinished"  # folder of what `prepare` has written of a dataset so far
VERSIONS = "[0-9]*.*.*/dataset_info.json"  # pattern that matches the versions in a dataset's folder


class NoSplit(UserError):
    """A dataset lacks a split, or the split is empty."""


def find_builder(dataset: str, data_dir: Path, size: tuple[int, int]) -> Any:
    """Find a dataset by name, folder or bucket, as `batches.open_dataset` takes them."""
    if "://" in dataset:
        return _find_in_bucket(dataset)
    if dataset in RENDERED:
        dataset = os.fspath(_find_scenes(data_dir, dataset, size))
    given, named = Path(dataset), data_dir / dataset  # either precedes a TFDS dataset of this name
    folder = next(filter(is_prepared, (given, named)), given)
    if folder.is_dir():
        return open_builder(find_version(folder))
    _refuse_unfinished(named)
    try:
        builder = tfds.builder(dataset, data_dir=os.fspath(data_dir))
    except Exception as error:  # an unknown name or version, or one whose code does not import here
        raise UserError(
            f"there is no dataset {dataset!r} in {data_dir} ({one_line(error, 100)}): name a "
            f"prepared folder, a TFDS dataset, or one of {', '.join(RENDERED)}"
        ) from error
    if not builder.is_prepared():
        raise UserError(f"{dataset} is not prepared in {data_dir}; prepare it first")
    return builder


def open_builder(folder: str | os.PathLike[str]) -> Any:
    """Return the TFDS builder of the dataset in a folder with dataset_info.json."""
    try:
        return tfds.builder_from_directory(folder)
    except Exception as error:  # of many types: of JSON, protobuf, or the features
        raise UserError(
            f"{os.fspath(folder)} is not a dataset that TFDS can open: {one_line(error)}"
        ) from error


def _find_in_bucket(url: str) -> Any:
    if not url.startswith(BUCKET):
        raise UserError(f"{url}: datasets are read from folders and from {BUCKET} buckets")
    try:
        return with_retries(lambda: open_builder(find_version(epath.Path(url))), url)
    except UserError:
        raise
    except ImportError as error:
        raise UserError(
            f'{url} needs gcsfs, which is missing: pip install "ganformer-jax[gcs]"'
        ) from error
    except Exception as error:  # of many libraries: no network, no such bucket, no permission
        hint = "perhaps `gcloud auth application-default login` is needed"
        if is_transient(error):
            hint = "try again once the bucket answers"
        raise UserError(f"{url} cannot be read: {one_line(error)}; {hint}") from error


def find_version(folder: Any) -> Any:
    """Return the folder with dataset_info.json: the given one, or the only version in it."""
    if (folder / "dataset_info.json").is_file():
        return folder
    versions = sorted(path.parent for path in folder.glob(VERSIONS))
    if len(versions) == 1:
        return versions[0]
    if versions:
        choices = ", ".join(map(str, versions))
        raise UserError(f"{folder} contains several versions; name one of these: {choices}")
    _refuse_unfinished(folder)
    raise UserError(f"{folder} is not a dataset prepared by TFDS: it has no dataset_info.json")


def _refuse_unfinished(folder: Any) -> None:
    """Raise UserError if a folder holds a dataset that `prepare` has not finished."""
    if (folder / UNFINISHED).is_dir():
        raise UserError(f"{folder} is not finished: run its `prepare` command again, which resumes")


def is_prepared(folder: Path) -> bool:
    """Return whether a folder is a prepared dataset, or contains exactly one version of one."""
    try:
        find_version(folder)
    except UserError:
        return False
    return True


def prepared_below(folder: Path) -> list[Path]:
    """Return the datasets in a folder of prepared datasets, or in a dataset's folder of configs."""
    found = (path.parent for above in ("*", "*/*") for path in folder.glob(f"{above}/{VERSIONS}"))
    return sorted(found)


def _find_scenes(data_dir: Path, name: str, size: tuple[int, int]) -> Path:
    """Return the folder of the only prepared set of scenes of this size."""
    resolution = max(size)
    if min(size) != resolution:
        raise UserError(f"scenes are square, not {size[0]}x{size[1]}; use a dataset of your own")
    infos = sorted(data_dir.glob(f"{name}/{resolution}px_*/*/dataset_info.json"))
    folders = [path.parent for path in infos if "incomplete" not in path.parent.name]
    if not folders:
        raise UserError(
            f"no {name} at {resolution}x{resolution} in {data_dir}; prepare them first, at "
            f"resolution {resolution}"
        )
    if len(folders) > 1:
        choices = ", ".join(map(str, folders))
        raise UserError(f"several sets of scenes match; name one of these folders: {choices}")
    return folders[0]


def condition_names(builder: Any) -> tuple[str, ...]:
    """Return the names of the numbers of a dataset's conditions; none if it has no conditions.

    Only `prepare` writes these names: without them, a feature called `condition` is ignored.

    Raises:
        UserError: If a condition does not have as many numbers as there are names.
    """
    names = tuple(map(str, (builder.info.metadata or {}).get(CONDITION_NAMES) or ()))
    features = builder.info.features
    shape = features["condition"].shape if names and "condition" in features else None
    if names and shape != (len(names),):
        raise UserError(
            f"{builder.name} has no condition of {len(names)} numbers: prepare it again"
        )
    return names


def tokenizer_text(builder: Any) -> str:
    """Return the tokenizer.json of a dataset whose conditions are captions; "" for others."""
    path = epath.Path(builder.data_path) / TOKENIZER_FILE
    return path.read_text() if condition_names(builder) and path.exists() else ""


class Records:
    """Serialized examples by index; indexing raises UserError if one cannot be read."""

    def __init__(self, stored: Any, name: str):
        self._stored, self._name = stored, name

    def __len__(self) -> int:
        return len(self._stored)

    def __getitem__(self, index: int) -> bytes:
        advice = f"{self._name} cannot be read, copy or prepare it again"
        try:
            record = with_retries(lambda: self._stored[index], self._name)
        except RuntimeError as error:  # ArrayRecord's reader, for most damage
            if is_transient(error):
                advice = f"{self._name} cannot be read now, try again once the disk answers"
            elif os.strerror(errno.EMFILE) in str(error):  # every shard stays open
                advice = f"{self._name} has more shards than this shell can open: raise `ulimit -n`"
            raise UserError(f"{advice}: {one_line(error)}") from error
        if not record:  # what ArrayRecord returns for a truncated short file
            raise UserError(f"{advice}: an empty record")
        return record


def open_split(builder: Any, split: str) -> Records:
    """Return the serialized examples of a split.

    Raises:
        NoSplit: If the split is missing or empty.
        UserError: If its file format does not support reading by index.
    """
    name = f"{builder.name} ({split})"
    try:
        count = builder.info.splits[split].num_examples
    except Exception as error:  # TFDS raises various types for bad names
        raise no_split(builder, split) from error
    if count <= 0:
        raise NoSplit(f"{name} is empty; choose another split or prepare it again")
    try:
        return Records(builder.as_data_source(split, deserialize_method=RAW), name)
    except (NotImplementedError, ValueError) as error:
        raise UserError(
            f"{name} cannot be read by index; prepare it with file_format='array_record'"
        ) from error


def no_split(builder: Any, split: str) -> NoSplit:
    """Return the error for a split that a dataset does not have."""
    choices = ", ".join(builder.info.splits) or "none"
    return NoSplit(f"{builder.name} has no split {split!r}; it has: {choices}")
