"""Preparation of a dataset from any source: ArrayRecord shards, in TFDS's layout, of one size.

TFDS's own writer stores every image three times while it works, and starts over after a kill. Here
shards are written once, under their final names, in a folder that is renamed to the dataset's name
when the dataset is complete. An entry passes through sources/, decode.py, fit.py, png.py and
shards.py; dataset_dir.py completes the dataset.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any

from ganformer_jax.data.dataset_dir import (
    VERSION,
    finish_publishing,
    make_dataset_dir,
    open_work_dir,
    publish,
    read_finished,
    remove_work_dir,
    remove_work_files,
    why_unusable,
    write_description,
)
from ganformer_jax.data.example_encoder import ExampleEncoder
from ganformer_jax.data.segments import SegmentFolder
from ganformer_jax.data.shards import divide, write_shards
from ganformer_jax.data.sources.conditions import Conditions
from ganformer_jax.data.sources.source import Labels, Source, check_class_names, no_images
from ganformer_jax.data.spec import (
    DatasetSpec,
    check_channels,
    check_spec,
    labeled_entries,
    make_plan,
)
from ganformer_jax.errors import UserError
from ganformer_jax.locks import exclusive_lock


@dataclasses.dataclass(frozen=True)
class PreparedDataset:
    """A finished dataset."""

    folder: pathlib.Path  # contains its files
    report: dict[str, Any]  # contents of its report.json
    is_new: bool  # False if an earlier call wrote it


def prepare(
    source: Source,
    spec: DatasetSpec,
    data_dir: str | os.PathLike[str],
    *,
    labels: Labels | Conditions | None = None,
    segments: SegmentFolder | None = None,
    threads: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> PreparedDataset:
    """Write `data_dir/NAME/1.0.0`, unless it exists already.

    It may be killed at any time: the same call resumes at the first missing shard. The bytes of the
    dataset depend on the source and the spec alone, not on threads or interruptions.

    Args:
        source: Source of the images.
        spec: What the dataset should be.
        data_dir: Folder of prepared datasets; created if absent.
        labels: Classes or conditions of the entries.
        segments: Label images of the entries.
        threads: Number of threads that decode and encode; by default one per core.
        say: Receives lines for the user.

    Raises:
        UserError: If the spec is invalid, another dataset has the name, another process is
            preparing it, no image can be read, or the disk is full.
    """
    check_spec(spec)
    check_channels(spec.geometry.channels, source)
    check_class_names(labels.names if isinstance(labels, Labels) else ())
    if not len(source):
        raise no_images(source)
    shards = divide(len(source), spec, labeled_entries(spec, labels))
    fingerprints = _fingerprints(source, segments)
    plan = make_plan(spec, labels, source.description, fingerprints[0])
    if segments is not None:
        plan["segments"] = fingerprints[1]
    dataset_dir = pathlib.Path(data_dir) / spec.name
    make_dataset_dir(dataset_dir, source)
    with exclusive_lock(dataset_dir, "preparing", say):
        finish_publishing(dataset_dir)
        report = read_finished(dataset_dir, plan)
        is_new = report is None
        if report is None:
            work_dir = open_work_dir(dataset_dir, plan)
            encoder = ExampleEncoder(source, labels, spec, segments)
            tallies = write_shards(encoder, shards, work_dir, threads or _core_count(), say)
            now = _fingerprints(source, segments)
            error = _changed(source, now[0] != fingerprints[0]) if now != fingerprints else None
            error = error or why_unusable(encoder, tallies)
            if error is not None:
                remove_work_dir(work_dir)  # otherwise it would be resumed, to the same end
                raise error
            report = write_description(encoder, tallies, work_dir, plan)
            publish(work_dir, dataset_dir, report)
        remove_work_files(dataset_dir)
    return PreparedDataset(dataset_dir / VERSION, report, is_new)


def _fingerprints(source: Source, segments: SegmentFolder | None) -> list[str]:
    return [source.fingerprint(), *([] if segments is None else [segments.fingerprint()])]


def _changed(source: Source, is_source: bool) -> UserError:
    what = source.description if is_source else f"the label images of {source.description}"
    return UserError(f"{what} changed while being read: run the same command to start over")


def _core_count() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
