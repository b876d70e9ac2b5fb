"""Entries of a source to examples, and examples to shards of a dataset.

A shard is written whole or not at all, and kept. Beside it lies a manifest, the tally of what went
into it, which is written last: when `prepare` resumes, shards without one are written again, and
shards with one are not.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import os
import pathlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.proto import tf_example_pb2
from tqdm.auto import tqdm

from ganformer_jax.data.decode import no_warnings
from ganformer_jax.data.depth import joined_range
from ganformer_jax.data.fit import MODES
from ganformer_jax.data.fit_entry import fit_entry
from ganformer_jax.data.png import encode_compressed, encode_stored
from ganformer_jax.data.segments import SegmentFolder
from ganformer_jax.data.sources.conditions import Conditions
from ganformer_jax.data.sources.source import Labels, Source, Unreadable
from ganformer_jax.data.spec import DatasetSpec
from ganformer_jax.errors import UserError
from ganformer_jax.files import atomic_path, write_atomically

ENTRIES_PER_SHARD = 1024
LOOKAHEAD = 4  # examples per thread that wait to be written
_COUNTERS = ("sizes", "kinds", "notes", "classes")


class Example(NamedTuple):
    """A tf.train.Example, and facts about the image that it was made of, for the report."""

    serialized: bytes
    size: str  # stored "width x height"
    kind: str  # stored format and mode
    notes: Sequence[str]  # changes made to it
    deep_range: tuple[int, int] | None  # smallest and largest value, if stored in 16 bits


@dataclasses.dataclass(frozen=True)
class ExampleEncoder:
    """Makes the examples of a dataset. Threads may use it at once."""

    source: Source
    labels: Labels | Conditions | None
    spec: DatasetSpec
    segments: SegmentFolder | None = None

    @functools.cached_property
    def features(self) -> tfds.features.FeaturesDict:
        """Features of an example, as TFDS describes them."""
        geometry = self.spec.geometry
        shape = geometry.height, geometry.width, geometry.channels
        if geometry.channels in MODES:
            image: Any = tfds.features.Image(shape=shape, encoding_format="png")
        else:
            encoding = "bytes" if self.spec.storage == "raw" else "zlib"
            image = tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding=encoding)
        features: dict[str, Any] = {
            "image": image,
            "name": tfds.features.Text(doc="where the image was in its source"),
        }
        if self.segments is not None:
            shape = geometry.height, geometry.width, 1
            features["mask"] = tfds.features.Image(shape=shape, encoding_format="png")
        if isinstance(self.labels, Labels):
            features["label"] = tfds.features.ClassLabel(names=self.labels.names)
        elif self.labels is not None:
            shape = (len(self.labels.names),)
            features["condition"] = tfds.features.Tensor(shape=shape, dtype=np.float32)
        return tfds.features.FeaturesDict(features)

    def encode(self, index: int, stored: bytes | np.ndarray | None = None) -> Example:
        """Make the example of an entry, which may be read already; raise Unreadable."""
        label = self._label(index)
        stored = self.source.read(index) if stored is None else stored
        fitted = fit_entry(stored, self.spec.geometry, self.spec.value_range)
        name = self.source.names[index].encode("utf-8", "replace").decode()
        example = {"image": self._stored_image(fitted.pixels_HxWxC), "name": name, **label}
        if self.segments is not None:
            name = self.source.names[index]
            labels = self.segments.labels(name, fitted.size, self.spec.geometry)
            example["mask"] = encode_compressed(labels)
        width, height = fitted.size
        size = f"{width}x{height}"
        return Example(self._serialize(example), size, fitted.kind, fitted.notes, fitted.deep_range)

    def _label(self, index: int) -> dict[str, Any]:
        """Return the features that label an entry; raise Unreadable if it has no label."""
        if self.labels is None:
            return {}
        if isinstance(self.labels, Conditions):
            condition = self.labels.at(index)
            if condition is None:
                raise Unreadable(f"no condition in {self.labels.origin}")
            return {"condition": condition}
        number = int(self.labels.classes[index])
        if number == -1:
            raise Unreadable(f"no class in {self.labels.origin}")
        return {"label": number}

    def _stored_image(self, pixels_HxWxC: np.ndarray) -> bytes | np.ndarray:
        """Encode as PNG what a PNG can hold; TFDS compresses the rest."""
        if self.spec.geometry.channels not in MODES:
            return pixels_HxWxC
        encode = encode_stored if self.spec.storage == "raw" else encode_compressed
        return encode(pixels_HxWxC)

    def _serialize(self, example: dict[str, Any]) -> bytes:
        serialized = self.features.serialize_example(example)
        # The order of features in it changes from process to process unless asked not to.
        message: Any = tf_example_pb2  # its classes are made when it is imported
        return message.Example.FromString(serialized).SerializeToString(deterministic=True)


@dataclasses.dataclass(frozen=True)
class Shard:
    """One file of a split."""

    name: str
    split: str
    entries: Sequence[int]  # of the source


@dataclasses.dataclass
class Tally:
    """Number of images in shards by size, kind, note and class; (name, reason) of the others."""

    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    sizes: Counter[str] = dataclasses.field(default_factory=Counter)
    kinds: Counter[str] = dataclasses.field(default_factory=Counter)
    notes: Counter[str] = dataclasses.field(default_factory=Counter)
    classes: Counter[str] = dataclasses.field(default_factory=Counter)
    deep_range: tuple[int, int] | None = None  # of the values of images stored in 16 bits
    bytes: int = 0  # of the examples
    digest: str = ""  # sha256 of the examples of one shard, or of the digests of several

    @property
    def images(self) -> int:
        """Number of stored images."""
        return sum(self.sizes.values())

    @classmethod
    def total(cls, tallies: Iterable[Tally]) -> Tally:
        """Add tallies up, in order."""
        total, digest = cls(), hashlib.sha256()
        for tally in tallies:
            total.skipped += tally.skipped
            for name in _COUNTERS:
                getattr(total, name).update(getattr(tally, name))
            total.deep_range = joined_range(total.deep_range, tally.deep_range)
            total.bytes += tally.bytes
            digest.update(tally.digest.encode())
        total.digest = digest.hexdigest()
        return total


def divide(count: int, spec: DatasetSpec, known: np.ndarray | None = None) -> list[Shard]:
    """Draw the splits and divide them into shards; every split keeps the order of the source.

    The images are drawn from `known` entries, bool [entries], if given: the others go to the split
    `train`, where they are skipped and counted.
    """
    order, others = np.random.default_rng(0).permutation(count), np.array([], np.int64)
    if known is not None:
        order, others = order[known[order]], np.flatnonzero(~known)
    order = order[: spec.max_images]
    used = len(order)
    if spec.held_out >= used:
        raise UserError(f"--held-out {spec.held_out} of {used} images leaves none to train on")
    test, train = np.split(order, [spec.held_out])
    splits = {"train": np.concatenate([train, others]), "test": test}
    shards = []
    for split, drawn in splits.items():
        entries, of = np.sort(drawn).tolist(), -(-len(drawn) // ENTRIES_PER_SHARD)
        for number in range(of):
            name = f"{spec.name}-{split}.array_record-{number:05d}-of-{of:05d}"
            start = number * ENTRIES_PER_SHARD
            shards.append(Shard(name, split, entries[start : start + ENTRIES_PER_SHARD]))
    return shards


def write_shards(
    encoder: ExampleEncoder,
    shards: Sequence[Shard],
    folder: pathlib.Path,
    threads: int,
    say: Callable[[str], None],
) -> dict[str, list[Any]]:
    """Write the shards that are missing in a folder; return the tallies of every split's shards."""
    tallies = {shard.name: _read_manifest(folder / shard.name) for shard in shards}
    missing = [shard for shard in shards if tallies[shard.name] is None]
    total = sum(len(shard.entries) for shard in shards)
    done = total - sum(len(shard.entries) for shard in missing)
    if done:
        say(f"resuming: {done} of {total} entries are done")
    with (
        no_warnings(),
        ThreadPoolExecutor(threads, "prepare") as pool,
        tqdm(total=total, initial=done, unit=" images", desc="Preparing") as bar,
    ):
        entries = (index for shard in missing for index in shard.entries)
        examples = _encode_ahead(encoder, pool, entries, LOOKAHEAD * threads)
        try:
            for shard in missing:
                path, outcomes = folder / shard.name, itertools.islice(examples, len(shard.entries))
                tally = _write_shard(encoder, shard, path, outcomes, bar.update)
                known = {name: value for name, value in vars(tally).items() if value is not None}
                write_atomically(f"{path}.json", json.dumps(known))
                tallies[shard.name] = tally
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    by_split = itertools.groupby(shards, lambda shard: shard.split)
    return {split: [tallies[shard.name] for shard in group] for split, group in by_split}


def _read_manifest(path: pathlib.Path) -> Tally | None:
    """Return the tally of a finished shard; None if it is not finished."""
    try:
        values = json.loads(pathlib.Path(f"{path}.json").read_text())
        counters = {name: Counter(values[name]) for name in _COUNTERS}
        skipped = [(name, reason) for name, reason in values["skipped"]]
        deep = values.get("deep_range")  # there if images have 16 bits; not in earlier versions
        facts = {"bytes": values["bytes"], "digest": values["digest"]}
        tally = Tally(skipped, **counters, deep_range=deep and (deep[0], deep[1]), **facts)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return tally if path.exists() else None


def _encode_ahead(
    encoder: ExampleEncoder, pool: Executor, entries: Iterable[int], depth: int
) -> Iterator[Future[Any]]:
    """Yield futures of examples in order, with `depth` of them under way."""
    waiting: collections.deque[Future[Any]] = collections.deque()
    for index in entries:
        waiting.append(_submit(encoder, pool, index))
        if len(waiting) > depth:
            yield waiting.popleft()
    yield from waiting


def _submit(encoder: ExampleEncoder, pool: Executor, index: int) -> Future[Any]:
    """Start to make an example; sequential sources are read here, in order."""
    if not encoder.source.sequential:
        return pool.submit(encoder.encode, index)
    try:
        return pool.submit(encoder.encode, index, encoder.source.read(index))
    except Unreadable as error:
        failed: Future[Any] = Future()
        failed.set_exception(error)
        return failed


def _write_shard(
    encoder: ExampleEncoder,
    shard: Shard,
    path: pathlib.Path,
    outcomes: Iterable[Future[Any]],
    advance: Callable[[int], object],
) -> Tally:
    tally, digest = Tally(), hashlib.sha256()
    with atomic_path(path) as temporary:
        with _full_disk_reported(path):
            # Images are compressed already; one record a group is what random access wants.
            writer = ArrayRecordWriter(os.fspath(temporary), "group_size:1,uncompressed")
        for index, outcome in zip(shard.entries, outcomes, strict=True):
            try:
                example = outcome.result()
            except Unreadable as error:
                tally.skipped.append((encoder.source.names[index], str(error)))
            except MemoryError as error:
                raise UserError(
                    "out of memory: run the same command with fewer --threads to resume"
                ) from error
            else:
                with _full_disk_reported(path):
                    writer.write(example.serialized)
                digest.update(hashlib.sha256(example.serialized).digest())
                tally.sizes[example.size] += 1
                tally.kinds[example.kind] += 1
                tally.notes.update(example.notes)
                tally.deep_range = joined_range(tally.deep_range, example.deep_range)
                tally.bytes += len(example.serialized)
                if isinstance(encoder.labels, Labels):
                    tally.classes[str(int(encoder.labels.classes[index]))] += 1
            advance(1)
        with _full_disk_reported(path):
            writer.close()
    tally.digest = digest.hexdigest()
    return tally


@contextlib.contextmanager
def _full_disk_reported(path: pathlib.Path) -> Iterator[None]:
    """Raise UserError where the ArrayRecord writer meets a full disk."""
    try:
        yield
    except RuntimeError as error:
        raise UserError(
            f"cannot write {path}, the disk may be full: make room and run the same command to "
            "resume"
        ) from error
