"""CIFAR-10 and CIFAR-100 as published: pickled batches or binary records."""

from __future__ import annotations

import dataclasses
import os
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from ganformer_jax.data.sources.cifar_batches import (
    Batch,
    read_binary,
    read_names,
    read_pickle,
    read_pickled_names,
)
from ganformer_jax.data.sources.source import (
    MAX_BYTES,
    Labels,
    Source,
    checksum,
    file_facts,
    listed,
    raise_if_interrupted,
)
from ganformer_jax.data.sources.splits import chosen_splits
from ganformer_jax.errors import UserError, one_line, os_reason

_DAMAGED = (tarfile.TarError, OSError, EOFError, zlib.error, ValueError)


@dataclasses.dataclass(frozen=True)
class Layout:
    """The files of one of the four archives that CIFAR is distributed in."""

    name: str
    folder: str  # name of the folder in the archive
    splits: Mapping[str, tuple[str, ...]]  # files of each split, in order
    classes: int
    names: str  # file with the names of the classes
    is_binary: bool

    @property
    def label_bytes(self) -> int:
        """Number of bytes before the pixels of a binary record; the last one is the class."""
        return 1 if self.classes == 10 else 2

    @property
    def files(self) -> list[str]:
        """All files that are read."""
        return [*(file for files in self.splits.values() for file in files), self.names]


def _ten(suffix: str) -> dict[str, tuple[str, ...]]:
    batches = tuple(f"data_batch_{number}{suffix}" for number in range(1, 6))
    return {"train": batches, "test": (f"test_batch{suffix}",)}


def _hundred(suffix: str) -> dict[str, tuple[str, ...]]:
    return {"train": (f"train{suffix}",), "test": (f"test{suffix}",)}


LAYOUTS = (
    Layout("CIFAR-10", "cifar-10-batches-py", _ten(""), 10, "batches.meta", False),
    Layout("CIFAR-10", "cifar-10-batches-bin", _ten(".bin"), 10, "batches.meta.txt", True),
    Layout("CIFAR-100", "cifar-100-python", _hundred(""), 100, "meta", False),
    Layout("CIFAR-100", "cifar-100-binary", _hundred(".bin"), 100, "fine_label_names.txt", True),
)


class CifarSource(Source):
    """Color images of 32x32 pixels, with their classes; the fine ones of CIFAR-100.

    All images of the split are held in memory, at most 184 MB. Pickles are read without running
    anything that they name.

    Args:
        path: The archive, such as cifar-10-python.tar.gz, or the folder extracted from it.
        layout: Its layout, as `find_layout` returns it.
        split: train, test, or train+test.

    Raises:
        UserError: If a file is absent, damaged, or not what it should be.
    """

    options = frozenset({"split"})

    def __init__(self, path: str | os.PathLike[str], layout: Layout, split: str = "train"):
        self._path, self._layout = Path(path), layout
        splits = chosen_splits(split, layout.splits, layout.name)
        wanted = [file for name in splits for file in layout.splits[name]]
        batches, names = self._read([*wanted, layout.names])
        pixels = [batches[file].pixels_Mx3072 for file in wanted]
        self._pixels, self._starts = pixels, np.cumsum([0, *map(len, pixels)])
        self.names = tuple(
            f"{file}@{index:05d}" for file in wanted for index in range(len(batches[file].classes))
        )
        classes = np.concatenate([batches[file].classes for file in wanted])
        self.labels = Labels(names, classes, layout.names)
        self.description = f"{layout.name} {path} ({split})"
        self._split, self.paths = split, (self._path,)

    def read(self, index: int) -> np.ndarray:
        """Return pixels, uint8 [32, 32, 3]."""
        batch = int(np.searchsorted(self._starts, index, side="right")) - 1
        row = self._pixels[batch][index - int(self._starts[batch])]
        return np.ascontiguousarray(row.reshape(3, 32, 32).transpose(1, 2, 0))

    def fingerprint(self) -> str:
        """Return a checksum of the size and time of the archive or of the files read."""
        is_folder = self._path.is_dir()
        paths = [self._path / f for f in self._layout.files] if is_folder else [self._path]
        facts = [(path.name, file_facts(path)) for path in paths]
        return checksum(["cifar", self._layout.folder, self._split, *facts])

    def _read(self, wanted: list[str]) -> tuple[dict[str, Batch], tuple[str, ...]]:
        """Return the batches by file, and the names of the classes."""
        layout, batches, names = self._layout, {}, ()
        for file, contents in _files(self._path, layout, wanted):
            try:
                if file == layout.names:
                    read = read_names if layout.is_binary else read_pickled_names
                    names = read(contents, layout.classes)
                elif layout.is_binary:
                    batches[file] = read_binary(contents, layout.label_bytes, layout.classes)
                else:
                    batches[file] = read_pickle(contents, layout.classes)
            except UserError as error:
                raise UserError(f"{self._path}: {file} cannot be read: {error}") from error
        absent = [file for file in wanted if file not in batches and file != layout.names]
        absent += [] if names else [layout.names]
        if absent:
            raise UserError(
                f"{self._path} is not complete, fetch it again: it has no {listed(absent)}"
            )
        return batches, names


def find_layout(path: Path) -> Layout | None:
    """Return the layout of an archive or folder of CIFAR; None if it is something else.

    Of an archive only the first name is looked at.
    """
    if path.is_dir():
        for layout in LAYOUTS:
            if all((path / file).is_file() for file in (layout.names, layout.files[0])):
                known = layout.classes == 10 or (path / layout.files[1]).is_file()
                return layout if known else None
        return None
    try:
        with tarfile.open(path) as archive:
            first = archive.next()
    except _DAMAGED as error:
        raise_if_interrupted(path, error)
        return None
    folder = _parts(first.name)[:1] if first else ()
    return next((layout for layout in LAYOUTS if (layout.folder,) == folder), None)


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(name).parts


def _files(path: Path, layout: Layout, wanted: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of files that are there, one at a time."""
    if not path.is_dir():
        yield from _members(path, {(layout.folder, file): file for file in wanted})
        return
    for file in wanted:
        if not (path / file).is_file():
            continue
        _check_size(path, file, (path / file).stat().st_size)
        try:
            contents = (path / file).read_bytes()
        except OSError as error:
            raise UserError(f"cannot read {path / file}: {os_reason(error)}") from error
        yield file, contents


def _members(path: Path, wanted: Mapping[tuple[str, ...], str]) -> Iterator[tuple[str, bytes]]:
    left = dict(wanted)
    try:
        with tarfile.open(path) as archive:
            while left and (member := archive.next()):
                file = left.pop(_parts(member.name), None)
                if file is None:
                    continue
                _check_size(path, file, member.size)
                opened = archive.extractfile(member) if member.isfile() else None
                contents = opened.read() if opened else b""
                if len(contents) == member.size:
                    yield file, contents
    except _DAMAGED as error:
        raise_if_interrupted(path, error)
        raise UserError(f"{path} is damaged, fetch it again: {one_line(error)}") from error


def _check_size(path: Path, file: str, size: int) -> None:
    if size > MAX_BYTES:
        raise UserError(f"{path}: {file} of {size} bytes is too large for a file of CIFAR")
