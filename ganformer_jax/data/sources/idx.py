"""Images in IDX files, the format of MNIST, Fashion-MNIST, KMNIST, QMNIST and EMNIST."""

from __future__ import annotations

import gzip
import math
import os
import re
import struct
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ganformer_jax.data.sources.source import (
    MAX_BYTES,
    Labels,
    Source,
    Unreadable,
    checksum,
    file_facts,
    labels_from,
    listed,
    numbered,
    raise_if_interrupted,
)
from ganformer_jax.data.sources.splits import chosen_splits
from ganformer_jax.errors import UserError, os_reason

MAX_IMAGES = 1 << 24  # in one file; the largest published one has 8 million
MAX_MAPPING = 1 << 20  # bytes of a table of class names
_IMAGES = re.compile(r"(?P<start>.*?)images(?P<end>[-.]idx3-ubyte(\.gz)?)", re.IGNORECASE)
_TRANSPOSED = "emnist-"  # files with this prefix store images transposed
_SPLITS = {"train": "train", "t10k": "test", "test": "test"}
_LARGEST_RATIO = 1040  # bound on deflate's compression, which is at most 1032 to 1
_DAMAGED = (EOFError, zlib.error, struct.error, OSError)


class IdxSource(Source):
    """Gray images of IDX files, with the classes of the label files beside them.

    Files called emnist-* store images transposed; they are read upright. If emnist-*-mapping.txt is
    beside them, its characters are the names of the classes, otherwise their numbers are.

    Args:
        path: A file of images, such as train-images-idx3-ubyte.gz, gzipped or not; or a folder of
            such files.
        split: Split of a folder: train, test, or train+test.

    Raises:
        UserError: If there are no images, or several datasets, or a file is damaged.
    """

    sequential = True

    def __init__(self, path: str | os.PathLike[str], split: str = "train"):
        place = Path(path)
        is_folder = place.is_dir()
        chosen = _files_of_split(place, split) if is_folder else [place]
        self._files: list[IdxFile] = []
        try:
            for file in chosen:
                self._files.append(IdxFile(file, 3))
        except UserError:
            self.close()
            raise
        self._starts = np.cumsum([0, *(len(file) for file in self._files)])
        many = len(self._files) > 1
        self.names = tuple(
            f"{file.path.name}@{name}" if many else name
            for file in self._files
            for name in numbered(len(file))
        )
        self.labels = self._find_labels()
        self.paths = (place,)
        self.options = frozenset({"split"} if is_folder else ())
        self.description = f"IDX {f'files in {place} ({split})' if is_folder else f'file {place}'}"

    def read(self, index: int) -> np.ndarray:
        """Read pixels, uint8 [H, W]; raise Unreadable."""
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        file = self._files[number]
        pixels = file.read(index - int(self._starts[number]))
        return pixels.T.copy() if file.path.name.lower().startswith(_TRANSPOSED) else pixels

    def fingerprint(self) -> str:
        """Return a checksum of the names, sizes and times of all files, labels included."""
        paths = [file.path for file in self._files]
        paths += [beside for path in paths for beside in (_labels_path(path), _mapping_path(path))]
        read = [(path.name, file_facts(path)) for path in paths if path.is_file()]
        return checksum(["idx", *read])

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def _find_labels(self) -> Labels | None:
        paths = [_labels_path(file.path) for file in self._files]
        present = [path for path in paths if path.is_file()]
        if not present:
            return None
        if len(present) < len(paths):
            absent = next(path for path in paths if path not in present)
            self.label_error = f"there is no {absent}"
            return None
        try:
            values = [_read_labels(path) for path in paths]
        except UserError as error:
            self.label_error = str(error)
            return None
        for path, of_file, file in zip(paths, values, self._files, strict=True):
            if len(of_file) != len(file):
                self.label_error = f"{path} has {len(of_file)} labels for {len(file)} images"
                return None
        classes = np.concatenate(values).astype(np.int64)
        origin = ", ".join(path.name for path in paths)
        mapping = _read_mapping(_mapping_path(self._files[0].path))
        if mapping is None:
            return labels_from(classes, len(classes), origin)
        order = {number: row for row, number in enumerate(mapping)}
        rows = np.array([order.get(number, -1) for number in range(256)])
        return Labels(tuple(mapping.values()), rows[classes], origin)


class IdxFile:
    """An IDX file of unsigned bytes, of which one entry of the first axis is read at a time.

    Args:
        path: Path of the file, gzipped or not.
        dimensions: Number of axes that it must have.

    Raises:
        UserError: If it cannot be opened, or is not an IDX file with these axes.
    """

    def __init__(self, path: Path, dimensions: int):
        self.path = path
        try:
            with path.open("rb") as file:
                packed = file.read(2) == b"\x1f\x8b"
            self._file: Any = gzip.open(path, "rb") if packed else path.open("rb")
        except OSError as error:
            raise UserError(f"cannot read {path}: {os_reason(error)}") from error
        self._lock = threading.Lock()
        try:
            self.shape = self._header(dimensions)
            self._start, self._size = 4 + 4 * dimensions, math.prod(self.shape[1:])
            self._check(packed)
        except BaseException:
            self._file.close()
            raise

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, index: int) -> np.ndarray:
        """Read one entry, uint8 in the shape of the other axes; raise Unreadable if damaged."""
        contents = self._bytes(self._start + index * self._size, self._size)
        return np.frombuffer(contents, np.uint8).reshape(self.shape[1:])

    def read_all(self) -> np.ndarray:
        """Read all entries at once; raise Unreadable."""
        contents = self._bytes(self._start, len(self) * self._size)
        return np.frombuffer(contents, np.uint8).reshape(self.shape)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _bytes(self, position: int, size: int) -> bytes:
        try:
            with self._lock:
                self._file.seek(position)
                contents = self._file.read(size)
        except _DAMAGED as error:
            raise_if_interrupted(self.path, error)
            raise Unreadable("the file is damaged or cut short") from error
        if len(contents) != size:
            raise Unreadable("the file is cut short")
        return contents

    def _header(self, dimensions: int) -> tuple[int, ...]:
        try:
            magic, shape = self._bytes(0, 4), self._bytes(4, 4 * dimensions)
        except Unreadable as error:
            raise UserError(f"{self.path} is not an IDX file, fetch it again: {error}") from error
        if magic != bytes((0, 0, 8, dimensions)):
            raise UserError(
                f"{self.path} is not an IDX file of unsigned bytes with {dimensions} axes: it "
                f"starts with {magic.hex(' ')}, not 00 00 08 {dimensions:02d}"
            )
        return struct.unpack(f">{dimensions}I", shape)

    def _check(self, packed: bool) -> None:
        """Refuse sizes that the file cannot hold."""
        claimed, stored = math.prod(self.shape), self.path.stat().st_size
        shape = " x ".join(map(str, self.shape))
        if not claimed:
            raise UserError(f"{self.path} is empty: {shape}")
        if len(self) > MAX_IMAGES or self._size > MAX_BYTES:
            raise UserError(f"{self.path} claims to hold {shape}, which is too large")
        if claimed > stored * (_LARGEST_RATIO if packed else 1):
            raise UserError(
                f"{self.path} is cut short, fetch it again: {shape} bytes do not fit in {stored}"
            )


def is_idx(path: Path) -> bool:
    """Return whether a file is named like an IDX file of images."""
    return _IMAGES.fullmatch(path.name) is not None


def _files_of_split(folder: Path, split: str) -> list[Path]:
    """Return the files of images of the requested splits, in order."""
    by_split: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        match = _IMAGES.fullmatch(path.name)
        if match and path.is_file():
            words = re.split(r"[-_.]", match["start"].lower())
            known = [_SPLITS[word] for word in words if word in _SPLITS]
            by_split.setdefault(known[-1] if known else "train", []).append(path)
    chosen = []
    for name in chosen_splits(split, by_split, str(folder)):
        # If a file is present with and without gzip, the latter is read.
        plain = {path.name.lower().removesuffix(".gz"): path for path in reversed(by_split[name])}
        if len(plain) > 1:
            names = listed(sorted(path.name for path in plain.values()))
            raise UserError(f"{folder} holds several datasets, name one of the files: {names}")
        chosen += plain.values()
    return chosen


def _labels_path(images: Path) -> Path:
    """Return the path of the labels of a file of images; only one of the two may be gzipped."""
    match = _IMAGES.fullmatch(images.name)
    if match is None:
        return images.with_name(f"{images.name}-labels")
    end = match["end"].replace("idx3", "idx1").replace("IDX3", "IDX1")
    path = images.with_name(f"{match['start']}labels{end}")
    other = path.with_suffix("") if path.suffix == ".gz" else path.with_name(f"{path.name}.gz")
    return other if other.is_file() and not path.is_file() else path


def _read_labels(path: Path) -> np.ndarray:
    file = IdxFile(path, 1)
    try:
        return file.read_all()
    except Unreadable as error:
        raise UserError(f"{path}: {error}") from error
    finally:
        file.close()


def _mapping_path(images: Path) -> Path:
    base = re.sub(r"-(train|test)-images.*", "", images.name, flags=re.IGNORECASE)
    return images.with_name(f"{base}-mapping.txt")


def _read_mapping(path: Path) -> dict[int, str] | None:
    """Read the characters of EMNIST's classes by number; None without a valid table."""
    if not path.is_file() or path.stat().st_size > MAX_MAPPING:
        return None
    try:
        rows = [[int(word) for word in line.split()] for line in path.read_text().splitlines()]
        mapping = {row[0]: "".join(map(chr, row[1:])) for row in rows if row}
    except (OSError, ValueError, OverflowError) as error:
        raise_if_interrupted(path, error)
        return None
    names: Sequence[str] = list(mapping.values())
    usable = all(0 <= number < 256 for number in mapping) and len(set(names)) == len(names)
    return mapping if usable and names and all(name.strip() for name in names) else None
