"""Pictures in the multi-resolution TFRecords of StyleGAN and GANformer, without TensorFlow."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from ganformer_jax.data.sources.frames import Frames, index_frames
from ganformer_jax.data.sources.shared import brief, labels_from, listed
from ganformer_jax.data.sources.source import (
    MAX_BYTES,
    Labels,
    Source,
    Unreadable,
    checksum,
    file_facts,
)
from ganformer_jax.errors import UserError

_SHARD = re.compile(r"(?P<prefix>.+)-r(?P<level>\d+)\.tfrecords?((?P<number>\d+)of(?P<count>\d+))?")


@dataclasses.dataclass(frozen=True, order=True)
class _Shard:
    """A file, number 1 to count of those written in turn; 2**level is its resolution."""

    prefix: str
    level: int
    count: int
    number: int
    path: Path


class TfrecordSource(Source):
    """Raw pictures of the largest resolution present, all its shards in order.

    Picture i was written to shard i modulo the number of shards, so record j of shard k (from 0)
    has row j * shards + k of the labels, which lie beside the records in *-rxx.labels.

    Args:
        path: A folder with files such as cats-r08.tfrecords or cats-r08.tfrecords1of5, or one
            such file.

    Raises:
        UserError: If there are none, or several datasets, or nothing in them can be read.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self._shards = _find_shards(Path(path))
        try:
            self._frames = [index_frames(shard.path) for shard in self._shards]
        except OSError as error:
            raise UserError(f"{path} cannot be read: {brief(error)}") from error
        self._counts = np.cumsum([len(frames) for frames in self._frames])
        self.names = tuple(
            f"{frames.path.name}@{index:08d}"
            for frames in self._frames
            for index in range(len(frames))
        )
        self.skipped = [*_damages(self._frames), *_missing(self._shards)]
        if not self.names:
            reason = self.skipped[0][1] if self.skipped else "no records"
            raise UserError(
                f"{path} holds no TFRecords that can be read, they may be compressed: {reason}"
            )
        self._check_features()
        self.labels = self._find_labels()
        self.places = (Path(path),)
        self.description = f"TFRecords {path}"

    def read(self, index: int) -> np.ndarray:
        """Pixels, uint8 [H, W, C].

        Raises:
            Unreadable: If the record is damaged or of another shape.
        """
        features = parse_example(self._record(index))
        shape = tuple(features.get("shape", ()))
        data = features.get("data", [])
        if len(shape) != 3 or shape[0] not in (1, 3, 4) or min(shape) < 1 or len(data) != 1:
            raise Unreadable(f"no picture: of shape {list(shape)[:4]}")
        if not isinstance(data[0], bytes) or len(data[0]) != shape[0] * shape[1] * shape[2]:
            raise Unreadable(f"the data does not fit the shape {list(shape)}")
        return np.frombuffer(data[0], np.uint8).reshape(shape).transpose(1, 2, 0)

    def fingerprint(self) -> str:
        """Checksum of the names, sizes and times of the files read, that of labels included."""
        paths = [shard.path for shard in self._shards]
        labels = self._labels_path
        paths += [] if labels is None else [labels]
        return checksum(["tfrecords", *((path.name, file_facts(path)) for path in paths)])

    def _record(self, index: int) -> bytes:
        shard = int(np.searchsorted(self._counts, index, side="right"))
        frames = self._frames[shard]
        return frames.read(index - int(self._counts[shard]) + len(frames))

    def _check_features(self) -> None:
        """Looks at the first record that can be parsed."""
        for index in range(min(len(self), 100)):
            try:
                features = parse_example(self._record(index))
            except Unreadable:
                continue
            if not {"shape", "data"} <= set(features):
                raise UserError(
                    f"{self._shards[0].path} is not of StyleGAN's or GANformer's kind, with shape "
                    f"and data; its records hold: {listed(sorted(features)) or 'nothing'}"
                )
            return

    @property
    def _labels_path(self) -> Path | None:
        shard = self._shards[0]
        path = shard.path.with_name(f"{shard.prefix}-rxx.labels")
        return path if path.is_file() else None

    def _find_labels(self) -> Labels | None:
        path = self._labels_path
        if path is None:
            return None
        try:
            values = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            self.complaint = f"{path} cannot be read: {brief(error)}"
            return None
        rows = np.concatenate(
            [
                np.arange(len(frames)) * shard.count + shard.number - 1
                for shard, frames in zip(self._shards, self._frames, strict=True)
            ]
        )
        found = labels_from(values, len(values), path.name) if values.ndim else None
        if found is None or rows.max() >= len(values):
            self.complaint = (
                f"{path} is no list of one-hot rows for {rows.max() + 1} pictures, it is "
                f"{values.dtype} {list(values.shape)}"
            )
            return None
        return dataclasses.replace(found, classes=found.classes[rows])


def parse_example(record: bytes) -> dict[str, list[Any]]:
    """The features of a serialized tf.train.Example: lists of bytes, floats or whole numbers.

    Raises:
        Unreadable: If it is none.
    """
    from google.protobuf.message import DecodeError
    from tensorflow_datasets.proto import tf_example_pb2

    if len(record) > MAX_BYTES:
        raise Unreadable("too large")
    try:
        example: Any = tf_example_pb2  # its classes are made when it is imported
        found = example.Example.FromString(record)
    except DecodeError as error:
        raise Unreadable("no tf.train.Example") from error
    features: dict[str, list[Any]] = {}
    for name, feature in found.features.feature.items():
        kind = feature.WhichOneof("kind")
        features[name] = list(getattr(feature, kind).value) if kind else []
    return features


def _find_shards(path: Path) -> list[_Shard]:
    if path.is_file():
        return [_shard(path) or _Shard(path.stem, 0, 1, 1, path)]
    files = sorted(path.iterdir()) if path.is_dir() else []
    found = [shard for shard in map(_shard, files) if shard and shard.path.is_file()]
    if not found:
        raise UserError(f"there are no *-rNN.tfrecords in {path}")
    prefixes = sorted({shard.prefix for shard in found})
    if len(prefixes) > 1:
        raise UserError(
            f"{path} holds several datasets, move each to its own folder: {listed(prefixes)}"
        )
    largest = max(shard.level for shard in found)
    found = sorted(shard for shard in found if shard.level == largest)
    if len({shard.count for shard in found}) > 1:
        names = listed([shard.path.name for shard in found])
        raise UserError(f"{path} holds the same pictures in different shards, keep one: {names}")
    return found


def _shard(path: Path) -> _Shard | None:
    match = _SHARD.fullmatch(path.name)
    if not match:
        return None
    number, count = int(match["number"] or 1), int(match["count"] or 1)
    if not 1 <= number <= count:
        return None
    return _Shard(match["prefix"], int(match["level"]), count, number, path)


def _damages(all_frames: list[Frames]) -> list[tuple[str, str]]:
    return [
        (f"{frames.path.name}@{len(frames):08d}", frames.damage)
        for frames in all_frames
        if frames.damage is not None
    ]


def _missing(shards: list[_Shard]) -> list[tuple[str, str]]:
    """Shards that others speak of; none if one file alone was asked for by name."""
    if len(shards) == 1 or shards[0].count > 1 << 16:
        return []
    absent = set(range(1, shards[0].count + 1)) - {shard.number for shard in shards}
    first = shards[0]
    return [
        (f"{first.prefix}-r{first.level:02d}.tfrecords{number}of{first.count}", "missing shard")
        for number in sorted(absent)
    ]
