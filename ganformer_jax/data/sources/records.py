"""Images in the multi-resolution TFRecords of StyleGAN and GANformer, without TensorFlow."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from ganformer_jax.data.sources.conditions import Conditions, conditions_from
from ganformer_jax.data.sources.frames import FramedRecords, Frames, index_frames
from ganformer_jax.data.sources.source import (
    MAX_BYTES,
    Labels,
    Source,
    Unreadable,
    checksum,
    file_facts,
    is_hidden,
    labels_from,
    listed,
    raise_if_interrupted,
)
from ganformer_jax.errors import UserError, one_line

_SHARD = re.compile(r"(?P<prefix>.+)-r(?P<level>\d+)\.tfrecords?((?P<number>\d+)of(?P<count>\d+))?")


@dataclasses.dataclass(frozen=True, order=True)
class _Shard:
    """One of `count` files that images were dealt to in turn; 2**level is their resolution."""

    prefix: str
    level: int
    count: int
    number: int  # from 1
    path: Path


class TfrecordSource(Source):
    """Raw images of the largest resolution present, from all its shards in order.

    Image i was written to shard i modulo the number of shards, so the label of record j of shard k
    (from 0) is in row j * shards + k of the file *-rxx.labels beside the records.

    Args:
        path: A folder with files such as cats-r08.tfrecords or cats-r08.tfrecords1of5, or one such
            file.

    Raises:
        UserError: If there are no such files, several datasets, or no readable record.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self._shards = _find_shards(Path(path))
        try:
            self._frames = [index_frames(shard.path) for shard in self._shards]
        except OSError as error:
            raise_if_interrupted(path, error)
            raise UserError(f"{path} cannot be read: {one_line(error)}") from error
        self._records = FramedRecords([(frames, 0, len(frames)) for frames in self._frames])
        self.names = tuple(_name(frames, i) for frames in self._frames for i in range(len(frames)))
        damages = [(_name(frames, len(frames)), frames.damage) for frames in self._frames]
        self.skipped = [(name, damage) for name, damage in damages if damage is not None]
        self.skipped += _missing(self._shards)
        if not self.names:
            reason = self.skipped[0][1] if self.skipped else "no records"
            raise UserError(
                f"{path} holds no TFRecords that can be read, they may be compressed: {reason}"
            )
        self._check_features()
        self.labels = self._find_labels()
        self.description, self.paths = f"TFRecords {path}", (Path(path),)

    def read(self, index: int) -> np.ndarray:
        """Read pixels, uint8 [H, W, C]; raise Unreadable."""
        features = parse_example(self._records[index])
        shape = tuple(features.get("shape", ()))
        data = features.get("data", [])
        if len(shape) != 3 or shape[0] not in (1, 3, 4) or min(shape) < 1 or len(data) != 1:
            raise Unreadable(f"not an image: of shape {list(shape)[:4]}")
        if not isinstance(data[0], bytes) or len(data[0]) != shape[0] * shape[1] * shape[2]:
            raise Unreadable(f"the data does not fit the shape {list(shape)}")
        return np.frombuffer(data[0], np.uint8).reshape(shape).transpose(1, 2, 0)

    def fingerprint(self) -> str:
        """Return a checksum of the names, sizes and times of the files read, labels included."""
        paths = [shard.path for shard in self._shards]
        paths += [self._labels_path] if self._labels_path.is_file() else []
        return checksum(["tfrecords", *((path.name, file_facts(path)) for path in paths)])

    def _check_features(self) -> None:
        """Check the first record that can be parsed."""
        for index in range(min(len(self), 100)):
            try:
                features = parse_example(self._records[index])
            except Unreadable:
                continue
            if not {"shape", "data"} <= set(features):
                raise UserError(
                    f"{self._shards[0].path} is not a TFRecord of StyleGAN or GANformer, with "
                    f"shape and data; its records hold: {listed(sorted(features)) or 'nothing'}"
                )
            return

    @property
    def _labels_path(self) -> Path:
        shard = self._shards[0]
        return shard.path.with_name(f"{shard.prefix}-rxx.labels")

    def _find_labels(self) -> Labels | Conditions | None:
        path = self._labels_path
        if not path.is_file():
            return None
        try:
            values = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            self.label_error = f"{path} cannot be read: {one_line(error)}"
            return None
        pairs = zip(self._shards, self._frames, strict=True)
        rows = np.concatenate([np.arange(len(f)) * s.count + s.number - 1 for s, f in pairs])
        labels = None
        if values.ndim:
            labels = labels_from(values, len(values), path.name)
            labels = labels or conditions_from(values, len(values), path.name)
        if labels is None or rows.max() >= len(values):
            self.label_error = (
                f"{path} is not a list of one-hot rows or conditions for {rows.max() + 1} images, "
                f"it is {values.dtype} {list(values.shape)}"
            )
            return None
        if isinstance(labels, Conditions):
            return dataclasses.replace(labels, vectors=labels.vectors[rows])
        return dataclasses.replace(labels, classes=labels.classes[rows])


def parse_example(record: bytes) -> dict[str, list[Any]]:
    """Return the features of a tf.train.Example; raise Unreadable if a record is not one."""
    from tensorflow_datasets.proto import tf_example_pb2  # slow: it imports all of TFDS

    if len(record) > MAX_BYTES:
        raise Unreadable("too large")
    try:
        example: Any = tf_example_pb2  # pyright does not see its classes, created at import
        parsed = example.Example.FromString(record)
    except DecodeError as error:
        raise Unreadable("not a tf.train.Example") from error
    features: dict[str, list[Any]] = {}
    for name, feature in parsed.features.feature.items():
        kind = feature.WhichOneof("kind")
        features[name] = list(getattr(feature, kind).value) if kind else []
    return features


def _find_shards(path: Path) -> list[_Shard]:
    if path.is_file():
        return [_shard(path) or _Shard(path.stem, 0, 1, 1, path)]
    files = sorted(path.iterdir()) if path.is_dir() else []
    shards = [shard for shard in map(_shard, files) if shard and shard.path.is_file()]
    if not shards:
        raise UserError(f"there are no *-rNN.tfrecords in {path}")
    prefixes = sorted({shard.prefix for shard in shards})
    if len(prefixes) > 1:
        raise UserError(
            f"{path} holds several datasets, move each to its own folder: {listed(prefixes)}"
        )
    largest = max(shard.level for shard in shards)
    shards = sorted(shard for shard in shards if shard.level == largest)
    if len({shard.count for shard in shards}) > 1:
        names = listed([shard.path.name for shard in shards])
        raise UserError(f"{path} holds the same images in different shards, keep one set: {names}")
    return shards


def _shard(path: Path) -> _Shard | None:
    match = _SHARD.fullmatch(path.name)
    if not match or is_hidden(path.name):
        return None
    number, count = int(match["number"] or 1), int(match["count"] or 1)
    known = 1 <= number <= count
    return _Shard(match["prefix"], int(match["level"]), count, number, path) if known else None


def _name(frames: Frames, index: int) -> str:
    return f"{frames.path.name}@{index:08d}"


def _missing(shards: list[_Shard]) -> list[tuple[str, str]]:
    """Return the shards that are missing by the names of others; none if there is one file."""
    first = shards[0]
    if len(shards) == 1 or first.count > 1 << 16:
        return []
    absent = set(range(1, first.count + 1)) - {shard.number for shard in shards}
    base = f"{first.prefix}-r{first.level:02d}.tfrecords"
    return [(f"{base}{number}of{first.count}", "missing shard") for number in sorted(absent)]
