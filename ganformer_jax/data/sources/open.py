"""Open a source of images by its path or name."""

from __future__ import annotations

import os
import pathlib
import re

from ganformer_jax.data.find import VERSIONS, prepared_below
from ganformer_jax.data.sources.archives import TarSource, ZipSource
from ganformer_jax.data.sources.arrays import ArraySource
from ganformer_jax.data.sources.databases import LmdbSource
from ganformer_jax.data.sources.folder import FolderSource
from ganformer_jax.data.sources.layouts import (
    TARS,
    holds_images,
    open_file,
    open_folder,
    open_folder_of_shards,
    open_pattern,
)
from ganformer_jax.data.sources.prepared import TfdsSource
from ganformer_jax.data.sources.records import TfrecordSource
from ganformer_jax.data.sources.source import SUFFIXES, Source, is_hidden
from ganformer_jax.data.sources.walk import BESIDE
from ganformer_jax.errors import UserError

ARRAYS = (".npy", ".npz", ".h5", ".hdf5")
DATABASES = (".mdb", ".lmdb")
TFDS_PREFIX = "tfds:"
_IN_VERSION = re.compile(r"(.*/)?\d+\.\d+\.\d+/[^/]+")
_TFDS_NAME = re.compile(r"[a-z][a-z0-9_]*(/[\w.-]+)*(:[\w.]+)?")


def open_source(
    where: str,
    *,
    array: str | None = None,
    split: str = "train",
    data_dir: str | os.PathLike[str] | None = None,
    follow_links: bool = False,
) -> Source:
    """Open a source of images of any supported format.

    Args:
        where: A folder, an archive, an array file, an LMDB database, StyleGAN TFRecords, the files
            of CIFAR or MNIST, WebDataset shards or Parquet files (a folder of them, or a pattern
            such as "x-{000..009}.tar"), a dataset prepared by TFDS, or the name of one ("mnist",
            or "tfds:mnist" if there is a folder of that name).
        array: Name of the array of images in an npz or HDF5 file, or of the column in Parquet.
        split: Split of a TFDS dataset, of CIFAR, or of a folder whose file names contain splits.
        data_dir: Folder of TFDS datasets; by default TFDS's own.
        follow_links: Follow links in a folder to any place.

    Raises:
        UserError: If the source does not exist or cannot be read.
    """
    path = pathlib.Path(where)
    if where.startswith(TFDS_PREFIX):
        if not _TFDS_NAME.fullmatch(where.removeprefix(TFDS_PREFIX)):
            raise UserError(f"{where}: name a dataset of TFDS, such as tfds:mnist")
        return TfdsSource(where.removeprefix(TFDS_PREFIX), data_dir, split)
    if path.is_dir():
        return _open_folder(path, array, data_dir, split, follow_links)
    name = path.name.lower()
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a regular file")
    if path.exists():
        known = open_file(path, array, split)
        if known:
            return known
        if name.endswith(".zip"):
            return ZipSource(path)
        if name.endswith(TARS):
            return TarSource(path)
        if name.endswith(ARRAYS):
            return ArraySource(path, array)
        if name.endswith(DATABASES):
            return LmdbSource(path)
        if ".tfrecord" in name:
            return TfrecordSource(path)
        kinds = ", ".join((".zip", *TARS, *ARRAYS, *DATABASES, ".parquet", ".tfrecords"))
        raise UserError(f"{path} is not a source of images: file names may end in {kinds}")
    matching = open_pattern(where, array)
    if matching:
        return matching
    if _TFDS_NAME.fullmatch(where):
        try:
            return TfdsSource(where, data_dir, split)
        except UserError as error:
            raise UserError(f"no file or folder is called {where}, and {error}") from error
    raise UserError(f"there is no {where}: name a folder, a file, or a dataset of TFDS")


def _open_folder(
    path: pathlib.Path,
    array: str | None,
    data_dir: str | os.PathLike[str] | None,
    split: str,
    follow_links: bool,
) -> Source:
    if (path / "config.json").is_file() and (path / "checkpoints").is_dir():
        raise UserError(
            f"{path} is a run, whose images are figures: commands that use its generator take it "
            "as --workdir, and its dataset has a folder of its own"
        )
    if (path / "dataset_info.json").is_file() or any(path.glob(VERSIONS)):
        return TfdsSource(path, data_dir, split)
    known = _open_known_files(path, split)
    if known:
        known.skipped = [*known.skipped, *((name, BESIDE) for name in _images_in(path))]
        return known
    images = FolderSource(path, follow_links)
    # `prepare` writes a contact sheet into the dataset that it makes.
    only_sheets = all(map(_IN_VERSION.fullmatch, images.names))
    if holds_images(images) and not only_sheets:
        return images
    if shards := open_folder_of_shards(path, array, split, follow_links):
        return shards
    if datasets := prepared_below(path):
        choices = ", ".join(map(str, datasets))
        raise UserError(f"{path} holds prepared datasets: name one, {choices}")
    return images


def _open_known_files(path: pathlib.Path, split: str) -> Source | None:
    """Open a folder whose file names identify its format; None for other folders."""
    if (path / "data.mdb").is_file():
        return LmdbSource(path)
    if any(not is_hidden(found.name) for found in path.glob("*-r[0-9][0-9].tfrecord*")):
        return TfrecordSource(path)
    return open_folder(path, split)


def _images_in(path: pathlib.Path) -> list[str]:
    """Return the names of the images in a folder, without its subfolders."""
    files = sorted(file.name for file in path.iterdir() if file.is_file())
    suffixes = SUFFIXES - {""}
    return [n for n in files if pathlib.Path(n).suffix.lower() in suffixes and not is_hidden(n)]
