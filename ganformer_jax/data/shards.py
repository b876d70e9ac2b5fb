"""The shards of a dataset, encoded from the entries of a source.

Shards are written atomically, each followed by its manifest. When `prepare` resumes, it keeps
shards that have a manifest and rewrites the others.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import hashlib
import itertools
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from tqdm.auto import tqdm

from ganformer_jax.data.decode import no_warnings
from ganformer_jax.data.depth import joined_range
from ganformer_jax.data.example_encoder import ExampleEncoder
from ganformer_jax.data.sources.source import Labels, Unreadable
from ganformer_jax.data.spec import DatasetSpec
from ganformer_jax.data.tally import Tally, read_manifest, write_manifest
from ganformer_jax.errors import UserError
from ganformer_jax.files import atomic_path

ENTRIES_PER_SHARD = 1024
LOOKAHEAD = 4  # examples per thread that wait to be written


@dataclasses.dataclass(frozen=True)
class Shard:
    """One file of a split."""

    name: str
    split: str
    entries: Sequence[int]  # indices into the source


def divide(count: int, spec: DatasetSpec, known: np.ndarray | None = None) -> list[Shard]:
    """Draw the splits and divide them into shards; every split keeps the order of the source.

    Args:
        count: Number of entries of the source.
        spec: Specification of the dataset.
        known: Which entries to draw from, bool [entries]; None for all. The others are assigned to
            the split `train`, where they are skipped and counted.

    Raises:
        UserError: If the held-out split would leave no images to train on.
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
    """Write the shards that a folder lacks; return the tallies of the shards of each split."""
    tallies = {shard.name: read_manifest(folder / shard.name) for shard in shards}
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
                write_manifest(path, tally)
                tallies[shard.name] = tally
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    by_split = itertools.groupby(shards, lambda shard: shard.split)
    return {split: [tallies[shard.name] for shard in group] for split, group in by_split}


def _encode_ahead(
    encoder: ExampleEncoder, pool: Executor, entries: Iterable[int], depth: int
) -> Iterator[Future[Any]]:
    """Yield futures of examples in order, keeping `depth` more of them in progress."""
    waiting: collections.deque[Future[Any]] = collections.deque()
    for index in entries:
        waiting.append(_submit(encoder, pool, index))
        if len(waiting) > depth:
            yield waiting.popleft()
    yield from waiting


def _submit(encoder: ExampleEncoder, pool: Executor, index: int) -> Future[Any]:
    """Submit the encoding of an entry; sequential sources are read here, to keep their order."""
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
            # Images are already compressed, and random access is fastest with one record per group.
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
    """Raise UserError in place of the ArrayRecord writer's error for a full disk."""
    try:
        yield
    except RuntimeError as error:
        raise UserError(
            f"cannot write {path}, the disk may be full: make room and run the same command to "
            "resume"
        ) from error
