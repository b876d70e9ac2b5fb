"""Published datasets, recognized by the names and contents of their files.

`open.py` tries these layouts before it reads a tar as an archive of images, or a folder without
images as an empty one.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

from ganformer_jax.data.sources.cifar import CifarSource, find_layout
from ganformer_jax.data.sources.folder import FolderSource
from ganformer_jax.data.sources.idx import IdxSource, is_idx
from ganformer_jax.data.sources.nested_tars import NestedTarSource
from ganformer_jax.data.sources.parquet import ParquetSource
from ganformer_jax.data.sources.source import Source, interrupted
from ganformer_jax.data.sources.splits import (
    choose_files,
    expand_pattern,
    files_below,
    is_pattern,
)
from ganformer_jax.data.sources.tar_scan import TarDamage, open_tar, scan
from ganformer_jax.data.sources.walk import LINK_OUT
from ganformer_jax.data.sources.webdataset import WebDatasetSource, has_classes
from ganformer_jax.errors import UserError

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
PARQUET = (".parquet",)
LOOKED_AT = 64  # files without a suffix whose contents are checked
_IMAGE_STARTS = (b"\x89PNG", b"\xff\xd8", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")
_IMAGE_STARTS += tuple(f"P{kind}".encode() for kind in range(1, 7))


def open_file(path: Path, array: str | None, split: str) -> Source | None:
    """Open CIFAR, IDX files, Parquet, tars of tars and WebDataset shards; None for other files."""
    name = path.name.lower()
    if is_idx(path):
        return IdxSource(path)
    if name.endswith(PARQUET):
        return ParquetSource([path], f"file {path}", array)
    if not name.endswith(TARS):
        return None
    layout = find_layout(path)
    if layout:
        return CifarSource(path, layout, split)
    if _first_file(path).lower().endswith(".tar"):
        return NestedTarSource(path)
    return WebDatasetSource([path], f"shard {path}") if has_classes(path) else None


def open_folder(path: Path, split: str) -> Source | None:
    """Open a folder in the layout of CIFAR or of MNIST; None for other folders."""
    layout = find_layout(path)
    if layout:
        return CifarSource(path, layout, split)
    if any(map(is_idx, path.glob("*idx3-ubyte*"))):
        return IdxSource(path, split)
    return None


def open_folder_of_shards(
    path: Path, array: str | None, split: str, follow_links: bool
) -> Source | None:
    """Open a folder of WebDataset shards or Parquet files; None if there are none.

    Shards are preferred, as img2dataset writes Parquet files that only describe them.
    """
    for suffixes, kind in ((TARS, "shards"), (PARQUET, "files")):
        files, skipped = files_below(path, suffixes, follow_links)
        if not files and LINK_OUT in (reason for _, reason in skipped):
            raise UserError(
                f"all {suffixes[0]} files in {path} are links out of the folder: give "
                "--follow-links to read them, or copy the files"
            )
        source = open_file(files[0], array, split) if len(files) == 1 else None
        if files and source is None:
            chosen = choose_files(files, path, split)
            described = f"{kind} in {path}" + (f" ({split})" if chosen.has_splits else "")
            source = _of_files(suffixes, chosen.files, described, array, chosen.has_splits)
            skipped += chosen.skipped
        if source is not None:
            source.skipped = [*skipped, *source.skipped]
            source.options |= {"follow_links"}
            return source
    return None


def open_pattern(where: str, array: str | None) -> Source | None:
    """Open the files of a pattern such as x-{000..009}.tar; None if it is not a pattern."""
    for suffixes, kind in ((PARQUET, "files"), (TARS, "shards")):
        if is_pattern(where) and where.lower().endswith(suffixes):
            return _of_files(suffixes, expand_pattern(where), f"{kind} {where}", array)
    return None


def _of_files(
    suffixes: Sequence[str],
    files: Sequence[Path],
    description: str,
    array: str | None,
    has_splits: bool = False,
) -> Source:
    if suffixes == PARQUET:
        return ParquetSource(files, description, array, has_splits)
    return WebDatasetSource(files, description, has_splits)


def _first_file(path: Path) -> str:
    """Return the name of the first file of a tar; "" if there is none, or it is damaged."""
    file, _ = open_tar(path)
    try:
        with file:
            return next((member.name for member in scan(file) if member.isfile()), "")
    except OSError as error:
        raise interrupted(path, error) from error
    except (TarDamage, tarfile.TarError):
        return ""


def holds_images(folder: FolderSource) -> bool:
    """Return whether a folder contains images, and not only files without a suffix."""
    if any(os.path.splitext(name)[1] for name in folder.names):
        return True
    return any(_starts_as_image(folder.root / name) for name in folder.names[:LOOKED_AT])


def _starts_as_image(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4).startswith(_IMAGE_STARTS)
    except OSError:
        return True  # `FolderSource` reports the error
