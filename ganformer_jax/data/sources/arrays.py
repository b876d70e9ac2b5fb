"""Images in arrays: .npy, .npz and HDF5 files."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from ganformer_jax.config import MAX_IMAGE_CHANNELS
from ganformer_jax.data.sources import array_files
from ganformer_jax.data.sources.array_files import ArrayFacts, ArrayFile
from ganformer_jax.data.sources.conditions import Conditions, conditions_from
from ganformer_jax.data.sources.source import (
    MAX_BYTES,
    MAX_CLASSES,
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
from ganformer_jax.errors import UserError, one_line

LABEL_NAMES = ("label", "labels", "y", "target", "targets")
CLASS_NAMES = ("class_names", "target_names")
CHANNELS = (1, 3, 4)
_SHAPE_ADVICE = (
    "reshape it to numbers of [M, H, W], [M, H, W, C] or [M, C, H, W], C at most "
    f"{MAX_IMAGE_CHANNELS}"
)


class ArraySource(Source):
    """The images of one array, [M, H, W], [M, H, W, C] or [M, C, H, W].

    The channel axis is the last one if it has 1, 3 or 4 entries, else axis 1 if that has; else the
    last axis, or axis 1, if it is shorter than both height and width and has at most 32 entries.
    Arrays of 1, 3 or 4 channels are preferred to others.

    If an HDF5 file has several arrays called data* (one per resolution, as StyleGAN's tools write
    them), the one with the largest resolution is used.

    Classes come from an array called label, labels, y, target or targets (or y_train for x_train),
    preferably in the same group of an HDF5 file, else from the file <name>-labels.npy beside it. It
    contains integers, strings or one-hot rows.

    Args:
        path: Path of the .npy, .npz, .h5 or .hdf5 file.
        array: Name of the array; needed only if several could be images.

    Raises:
        UserError: If the file cannot be read, or it is not clear which array contains the images.
    """

    options = frozenset({"array"})

    def __init__(self, path: str | os.PathLike[str], array: str | None = None):
        self._path = Path(path)
        self._file = array_files.open_array_file(self._path)
        try:
            self._name = _chosen(self._file, array)
            facts = self._file.arrays[self._name]
            self._shape, self._dtype = facts.shape, facts.dtype
            self._pixels: Any = self._file.open(self._name)
            self.names = numbered(self._shape[0])
            self._channel_axis, count = _channel_axis(self._shape), _channel_count(self._shape)
            self.channels = None if count in CHANNELS else count
            self.labels = self._find_labels()
        except BaseException:
            self._file.close()
            raise
        inside = "" if self._path.suffix.lower() == ".npy" else f", array {self._name}"
        self.paths = (self._path,)
        self.description = f"array file {self._path}{inside}"

    def read(self, index: int) -> np.ndarray:
        """Read the stored pixels, [H, W] or [H, W, C]; raise Unreadable if they are damaged."""
        if math.prod(self._shape[1:]) * self._dtype.itemsize > MAX_BYTES:
            raise Unreadable("too large")
        try:
            pixels = np.array(self._pixels[index])
        except (OSError, ValueError, RuntimeError, TypeError) as error:
            raise_if_interrupted(self._path, error)
            raise Unreadable(f"damaged: {one_line(error)}") from error
        is_first = self._channel_axis == 1
        return np.ascontiguousarray(pixels.transpose(1, 2, 0)) if is_first else pixels

    def fingerprint(self) -> str:
        """Return a checksum of the array and of the size and time of its file and labels."""
        beside = self._labels_beside
        labels = file_facts(beside) if beside.is_file() else None
        return checksum(["array", file_facts(self._path), self._name, self._shape, labels])

    def close(self) -> None:
        """Close the file."""
        self._pixels = None
        self._file.close()

    @property
    def _labels_beside(self) -> Path:
        return self._path.with_name(self._path.stem + "-labels.npy")

    def _find_labels(self) -> Labels | Conditions | None:
        count, base = self._shape[0], _base(self._name).lower()
        partner = ("y" + base[1:],) if base.startswith("x") else ()
        for name in self._matching((*LABEL_NAMES, *partner)):
            labels = self._labels_in(name)
            if labels is not None:
                return labels
            if _group(name) == _group(self._name):
                why = self._file.refused.get(name, _no_classes(count))
                self.label_error = f"the array {name} {why}"
        beside = self._labels_beside
        if not beside.is_file():
            return None
        values = np.asarray(array_files.load_npy(beside))
        labels = labels_from(values, count, beside.name)
        labels = labels or conditions_from(values, count, beside.name)
        if labels is None:
            self.label_error = f"{beside} {_no_classes(count)}"
        return labels

    def _labels_in(self, name: str) -> Labels | Conditions | None:
        count = self._shape[0]
        shape = self._file.arrays[name].shape if name in self._file.arrays else ()
        if shape[:1] != (count,) or math.prod(shape[1:]) > MAX_CLASSES:
            return None
        if self._file.arrays[name].dtype.kind == "O":  # strings of HDF5
            values = np.array(self._file.strings(name, count))
        else:
            values = np.asarray(self._file.open(name)[()])
        origin, names = f"array {name}", self._class_names()
        labels = labels_from(values, count, origin, names)
        return labels or conditions_from(values, count, origin, names)

    def _class_names(self) -> list[str] | None:
        readable = [n for n in self._matching(CLASS_NAMES)[:1] if n in self._file.arrays]
        return self._file.strings(readable[0]) or None if readable else None

    def _matching(self, wanted: tuple[str, ...]) -> list[str]:
        """Return the arrays with these names, in the order of the names.

        Only those in the group of the images, if there are any; otherwise those of the only group
        that has such names.
        """
        names = [name for name in (*self._file.arrays, *self._file.refused) if name != self._name]
        matching = [name for base in wanted for name in names if _base(name).lower() == base]
        own = [name for name in matching if _group(name) == _group(self._name)]
        groups = {_group(name) for name in matching}
        return own or (matching if len(groups) == 1 else [])


def _no_classes(count: int) -> str:
    each = f"a class for each of the {count} images"
    return f"does not hold {each}, as integers, words, one-hot rows or rows of finite numbers"


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _group(name: str) -> str:
    return name.rpartition("/")[0]


def _holds_images(facts: ArrayFacts) -> bool:
    """Return whether an array may hold images; one of shape [H, W, C] is a single image."""
    shape = facts.shape
    if facts.dtype.kind not in "buif" or not all(shape):
        return False
    if len(shape) == 3:
        return shape[2] not in CHANNELS
    return _channel_axis(shape) is not None


def _channel_count(shape: tuple[int, ...]) -> int:
    axis = _channel_axis(shape)
    return 1 if axis is None else shape[axis]


def _channel_axis(shape: tuple[int, ...]) -> int | None:
    """Return the channel axis of an array of four axes; None if there is none."""
    if len(shape) != 4:
        return None
    _, first, middle, last = shape
    if last in CHANNELS or first in CHANNELS:
        return 3 if last in CHANNELS else 1
    for axis, channels, sides in ((3, last, (first, middle)), (1, first, (middle, last))):
        if channels <= MAX_IMAGE_CHANNELS and channels < min(sides):
            return axis
    return None


def _chosen(file: ArrayFile, array: str | None) -> str:
    """Return the name of the array that holds the images."""
    if array is not None:
        return _named(file, array)
    shapes = {name: f.shape for name, f in file.arrays.items() if _holds_images(f)}
    usual = [name for name, shape in shapes.items() if _channel_count(shape) in CHANNELS]
    candidates = usual or list(shapes)
    if len(candidates) > 1 and file.path.suffix.lower() in array_files.HDF5_SUFFIXES:
        candidates = _largest(file, candidates)
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        choices = listed([f"{name}: {file.arrays[name]}" for name in sorted(candidates)])
        raise UserError(
            f"{file.path} holds several arrays; choose one with --array NAME of: {choices}"
        )
    raise UserError(_no_array(file))


def _named(file: ArrayFile, array: str) -> str:
    if array in file.refused:
        raise UserError(f"array {array!r} in {file.path} {file.refused[array]}")
    if array not in file.arrays:
        choices = listed(sorted(file.arrays)) or "none"
        raise UserError(f"{file.path} has no array {array!r}; choose --array NAME of: {choices}")
    facts = file.arrays[array]
    if not _holds_images(facts):
        raise UserError(f"array {array!r} in {file.path} is {facts}: {_SHAPE_ADVICE}")
    return array


def _largest(file: ArrayFile, candidates: list[str]) -> list[str]:
    """Return the data* array with the largest images; all candidates if it is not unique."""
    if not all(_base(name).startswith("data") for name in candidates):
        return candidates
    pixels = {name: math.prod(file.arrays[name].shape[1:]) for name in candidates}
    largest = [name for name in candidates if pixels[name] == max(pixels.values())]
    return largest if len(largest) == 1 else candidates


def _no_array(file: ArrayFile) -> str:
    """Return a message that explains why no array holds images."""
    for name, facts in sorted(file.arrays.items()):
        if 0 in facts.shape[:1] and len(facts.shape) > 1:
            return f"array {name!r} in {file.path} is empty: {facts}"
    arrays = [f"{name}: {facts}" for name, facts in sorted(file.arrays.items())]
    arrays += [f"{name} {why}" for name, why in sorted(file.refused.items())]
    if not arrays:
        return f"there is no array in {file.path}"
    return f"no array in {file.path} looks like images ({listed(arrays, 4)}): {_SHAPE_ADVICE}"
