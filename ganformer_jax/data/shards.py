"""The shards of a dataset being prepared: each is written whole or not at all, and kept.

Beside a shard lies a manifest, the tally of what went into it. The manifest is written last: when
`prepare` resumes, shards without one are written again, and shards with one are not.
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
from array_record.python.array_record_module import ArrayRecordWriter
from tqdm.auto import tqdm

from ganformer_jax.data.decode import no_warnings
from ganformer_jax.data.examples import ExampleEncoder
from ganformer_jax.data.sources.source import Unreadable
from ganformer_jax.data.spec import DatasetSpec
from ganformer_jax.errors import UserError
from ganformer_jax.files import atomic_path, write_atomically

ENTRIES_PER_SHARD = 1024
LOOKAHEAD = 4  # examples per thread that wait to be written
_COUNTERS = ("sizes", "kinds", "notes", "classes")


@dataclasses.dataclass(frozen=True)
class Shard:
    """One file of a split.

    Attributes:
        name: File name.
        split: Name of the split.
        entries: Numbers of its entries in the source.
    """

    name: str
    split: str
    entries: Sequence[int]


@dataclasses.dataclass
class Tally:
    """Counts of what went into shards, and of what did not.

    Attributes:
        skipped: (name, reason) of entries that could not be used.
        sizes: Number of images by stored "width x height".
        kinds: Number of images by stored format and mode.
        notes: Number of images by changes made to them.
        classes: Number of images by class number.
        bytes: Size of the examples.
        digest: Sha256 of the examples of one shard, or of the digests of several.
    """

    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    sizes: Counter[str] = dataclasses.field(default_factory=Counter)
    kinds: Counter[str] = dataclasses.field(default_factory=Counter)
    notes: Counter[str] = dataclasses.field(default_factory=Counter)
    classes: Counter[str] = dataclasses.field(default_factory=Counter)
    bytes: int = 0
    digest: str = ""

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
            total.bytes += tally.bytes
            digest.update(tally.digest.encode())
        total.digest = digest.hexdigest()
        return total


def divide(count: int, spec: DatasetSpec) -> list[Shard]:
    """Draw the splits and divide them into shards; every split keeps the order of the source.

    Args:
        count: Number of entries of the source.
        spec: What the dataset should be.

    Raises:
        UserError: If nothing is left to train on.
    """
    used = min(count, spec.max_images or count)
    if spec.held_out >= used:
        raise UserError(f"--held-out {spec.held_out} of {used} images leaves none to train on")
    order = np.random.default_rng(0).permutation(count)[:used]
    splits = {"train": order[spec.held_out :], "test": order[: spec.held_out]}
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
) -> dict[str, list[Tally]]:
    """Write the shards that are missing in a folder, reading and encoding ahead with threads.

    Args:
        encoder: Makes the examples.
        shards: All shards of the dataset.
        folder: Folder that they are written to.
        threads: Number of threads that decode and encode.
        say: Receives lines for the user.

    Returns:
        The tallies of the shards of every split.

    Raises:
        UserError: If something cannot be written; finished shards stay.
    """
    tallies = {shard.name: _read_manifest(folder / shard.name) for shard in shards}
    missing = [shard for shard in shards if tallies[shard.name] is None]
    total = sum(len(shard.entries) for shard in shards)
    done = total - sum(len(shard.entries) for shard in missing)
    if done:
        say(f"resuming: {done} of {total} entries are done")
    with (
        no_warnings(),
        concurrent.futures.ThreadPoolExecutor(threads, "prepare") as pool,
        tqdm(total=total, initial=done, unit=" images", desc="Preparing") as bar,
    ):
        entries = (index for shard in missing for index in shard.entries)
        examples = _encode_ahead(encoder, pool, entries, LOOKAHEAD * threads)
        try:
            for shard in missing:
                outcomes = itertools.islice(examples, len(shard.entries))
                path = folder / shard.name
                tallies[shard.name] = tally = _write_shard(
                    encoder, shard, path, outcomes, bar.update
                )
                write_atomically(_manifest(path), json.dumps(vars(tally)))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    by_split: dict[str, list[Any]] = {}
    for shard in shards:
        by_split.setdefault(shard.split, []).append(tallies[shard.name])
    return by_split


def _manifest(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(path.name + ".json")


def _read_manifest(path: pathlib.Path) -> Tally | None:
    """Return the tally of a finished shard; None if it is not finished."""
    try:
        values = json.loads(_manifest(path).read_text())
        counters = {name: Counter(values[name]) for name in _COUNTERS}
        skipped = [(name, reason) for name, reason in values["skipped"]]
        tally = Tally(skipped, **counters, bytes=values["bytes"], digest=values["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return tally if path.exists() else None


def _encode_ahead(
    encoder: ExampleEncoder,
    pool: concurrent.futures.Executor,
    entries: Iterable[int],
    depth: int,
) -> Iterator[concurrent.futures.Future[Any]]:
    """Yield futures of examples in order, with `depth` of them under way."""
    waiting: collections.deque[concurrent.futures.Future[Any]] = collections.deque()
    for index in entries:
        waiting.append(_submit(encoder, pool, index))
        if len(waiting) > depth:
            yield waiting.popleft()
    yield from waiting


def _submit(
    encoder: ExampleEncoder, pool: concurrent.futures.Executor, index: int
) -> concurrent.futures.Future[Any]:
    """Start to make an example; sequential sources are read here, in order."""
    if not encoder.source.sequential:
        return pool.submit(encoder.encode, index)
    try:
        return pool.submit(encoder.encode, index, encoder.source.read(index))
    except Unreadable as error:
        failed: concurrent.futures.Future[Any] = concurrent.futures.Future()
        failed.set_exception(error)
        return failed


def _write_shard(
    encoder: ExampleEncoder,
    shard: Shard,
    path: pathlib.Path,
    outcomes: Iterable[concurrent.futures.Future[Any]],
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
                tally.bytes += len(example.serialized)
                if encoder.labels is not None:
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
