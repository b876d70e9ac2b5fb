"""The shards of a dataset being prepared: one is written whole or not at all, and is kept.

A part is a shard of the finished dataset and a note beside it of what went into it. The note is
written last, so a part without one is made again after a kill, and a part with one is not.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.proto import tf_example_pb2

from ganformer_jax.data.pictures import Geometry, decode, fit, no_warnings
from ganformer_jax.data.sources.source import Labels, Source, Unreadable
from ganformer_jax.errors import UserError

PICTURES_A_PART = 1024
LOOKAHEAD = 4  # pictures a thread that wait to be written


@dataclasses.dataclass(frozen=True)
class Part:
    """Which entries go into one shard."""

    split: str
    number: int
    entries: Sequence[int]


@dataclasses.dataclass
class Tally:
    """What went into parts, and what did not; the sum of two tallies is that of both.

    Attributes:
        skipped: (name, reason) of entries that no picture could be made of.
        sizes, kinds, notes, classes: How many pictures, by "width x height" as they were stored,
            by format and mode, by what was done to them, and by class number.
        bytes: Of the stored examples.
        digest: Sha256 of the stored examples of one part, or of the digests of several.
    """

    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    sizes: Counter[str] = dataclasses.field(default_factory=Counter)
    kinds: Counter[str] = dataclasses.field(default_factory=Counter)
    notes: Counter[str] = dataclasses.field(default_factory=Counter)
    classes: Counter[str] = dataclasses.field(default_factory=Counter)
    bytes: int = 0
    digest: str = ""

    @property
    def pictures(self) -> int:
        """How many were stored."""
        return sum(self.sizes.values())

    def as_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Tally:
        """Raises TypeError or KeyError for something else."""
        counters = {name: Counter(values[name]) for name in ("sizes", "kinds", "notes", "classes")}
        skipped = [(name, reason) for name, reason in values["skipped"]]
        return cls(skipped, **counters, bytes=values["bytes"], digest=values["digest"])

    @classmethod
    def total(cls, tallies: Iterable[Tally]) -> Tally:
        """The sum, in order."""
        found, digest = cls(), hashlib.sha256()
        for tally in tallies:
            found.skipped += tally.skipped
            for name in ("sizes", "kinds", "notes", "classes"):
                getattr(found, name).update(getattr(tally, name))
            found.bytes += tally.bytes
            digest.update(tally.digest.encode())
        found.digest = digest.hexdigest()
        return found


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How an entry becomes an example.

    Attributes:
        source: Where entries come from.
        labels: Classes; None for none.
        geometry: Of the stored pictures.
        encode: Pixels to the bytes that are stored.
        value_range: See `pictures.decode`.
        features: Of an example, as TFDS describes them.
    """

    source: Source
    labels: Labels | None
    geometry: Geometry
    encode: Callable[[np.ndarray], bytes]
    value_range: tuple[float, float] | None
    features: tfds.features.FeaturesDict

    def make(self, index: int, stored: Any = None) -> tuple[bytes, str, str, Sequence[str]]:
        """The serialized example; size, kind and notes of what it was made of.

        Raises:
            Unreadable: If there is no whole picture, or no class where there are classes.
        """
        label = None if self.labels is None else int(self.labels.classes[index])
        if label == -1:
            assert self.labels is not None
            raise Unreadable(f"no class in {self.labels.origin}")
        if isinstance(stored, Unreadable):
            raise stored
        picture = decode(self.source.read(index) if stored is None else stored, self.value_range)
        width, height = picture.image.size
        notes = list(picture.notes)
        if picture.image.mode == "RGBA" and self.geometry.channels != 4:
            notes.append("transparency laid on white")
        if self.geometry.enlarges((width, height)):
            notes.append("enlarged")
        name = self.source.names[index].encode("utf-8", "replace").decode()
        example = {"image": self.encode(fit(picture, self.geometry)), "name": name}
        if label is not None:
            example["label"] = label
        serialized = self.features.serialize_example(self.features.encode_example(example))
        # The order of features in it changes from process to process unless asked not to.
        message: Any = tf_example_pb2  # its classes are made when it is imported
        ordered = message.Example.FromString(serialized).SerializeToString(deterministic=True)
        return ordered, f"{width}x{height}", picture.kind, notes


def divide(entries: Sequence[int], split: str) -> list[Part]:
    """Parts of the entries of one split, in order."""
    starts = range(0, len(entries), PICTURES_A_PART)
    return [
        Part(split, number, entries[start : start + PICTURES_A_PART])
        for number, start in enumerate(starts)
    ]


def write_parts(
    recipe: Recipe,
    parts: Sequence[tuple[Part, pathlib.Path, pathlib.Path]],
    threads: int,
    advance: Callable[[int], object],
) -> None:
    """Makes parts, reading and encoding ahead with threads.

    Args:
        recipe: How.
        parts: Each with the path of its shard and of its note.
        threads: That decode and encode.
        advance: Told how many entries are done.

    Raises:
        UserError: If something cannot be written; what was finished stays.
    """
    with no_warnings(), concurrent.futures.ThreadPoolExecutor(threads, "prepare") as pool:
        entries = (index for part, _, _ in parts for index in part.entries)
        made = _ahead(recipe, pool, entries, LOOKAHEAD * threads)
        try:
            for part, shard, note in parts:
                outcomes = itertools.islice(made, len(part.entries))
                tally = _write_shard(recipe, part, shard, outcomes, advance)
                write_whole(note, json.dumps(tally.as_json()).encode())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _ahead(
    recipe: Recipe, pool: concurrent.futures.Executor, entries: Iterable[int], depth: int
) -> Iterator[Any]:
    """Futures of examples in order; so many are under way."""
    waiting: collections.deque[concurrent.futures.Future[Any]] = collections.deque()
    for index in entries:
        stored = None
        if recipe.source.sequential:
            try:
                stored = recipe.source.read(index)
            except Unreadable as reason:
                stored = reason
        waiting.append(pool.submit(recipe.make, index, stored))
        if len(waiting) > depth:
            yield waiting.popleft()
    yield from waiting


def _write_shard(
    recipe: Recipe,
    part: Part,
    shard: pathlib.Path,
    outcomes: Iterable[concurrent.futures.Future[Any]],
    advance: Callable[[int], object],
) -> Tally:
    tally, digest = Tally(), hashlib.sha256()
    temporary = shard.with_name(shard.name + ".writing")
    with _writing(shard, temporary):
        # Pictures are compressed already; one record a group is what random access wants.
        writer = ArrayRecordWriter(os.fspath(temporary), "group_size:1,uncompressed")
    for index, outcome in zip(part.entries, outcomes, strict=True):
        try:
            example, size, kind, notes = outcome.result()
        except Unreadable as reason:
            tally.skipped.append((recipe.source.names[index], str(reason)))
        except MemoryError as error:
            raise UserError("out of memory: fewer --threads; the same command goes on") from error
        else:
            with _writing(shard, temporary):
                writer.write(example)
            digest.update(hashlib.sha256(example).digest())
            tally.sizes[size] += 1
            tally.kinds[kind] += 1
            tally.notes.update(notes)
            tally.bytes += len(example)
            if recipe.labels is not None:
                tally.classes[str(int(recipe.labels.classes[index]))] += 1
        advance(1)
    with _writing(shard, temporary):
        writer.close()
        sync(temporary)
        os.replace(temporary, shard)
    tally.digest = digest.hexdigest()
    return tally


@contextlib.contextmanager
def _writing(shard: pathlib.Path, temporary: pathlib.Path) -> Iterator[None]:
    """Says what is wrong with the disk, and leaves no cut file on it."""
    try:
        yield
    except RuntimeError as error:  # what the ArrayRecord writer makes of a full disk
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"cannot write {shard}, the disk may be full: make room, and the same command goes on"
        ) from error
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"cannot write {shard}: {error.strerror or error}") from error


def write_whole(path: pathlib.Path, contents: bytes) -> None:
    """Writes a file that is there whole, after a power cut too, or not at all.

    Raises:
        UserError: If it cannot be written.
    """
    temporary = path.with_name(path.name + ".writing")
    try:
        temporary.write_bytes(contents)
        sync(temporary)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; the same command goes on"
        ) from error


def sync(path: pathlib.Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
