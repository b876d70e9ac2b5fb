"""What a finished dataset says about itself: a report for people, a description for TFDS."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import pathlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds
from etils import epath

from ganformer_jax.data.dataset_dir import REPORT, VERSION
from ganformer_jax.data.examples import ExampleEncoder
from ganformer_jax.data.shards import Tally
from ganformer_jax.data.sources.source import checksum, no_images
from ganformer_jax.errors import UserError
from ganformer_jax.files import write_atomically

SKIPPED = "skipped.csv"


def write_description(
    encoder: ExampleEncoder,
    tallies: Mapping[str, Sequence[Tally]],
    folder: pathlib.Path,
    plan: dict[str, Any],
) -> dict[str, Any]:
    """Write what TFDS reads, the report, and the list of skipped entries.

    Args:
        encoder: Made the examples.
        tallies: Those of the shards of every split.
        folder: Folder of the shards.
        plan: What decided the dataset.

    Returns:
        The report.

    Raises:
        UserError: If a split is empty.
    """
    totals = {split: Tally.total(of_split) for split, of_split in tallies.items()}
    total = Tally.total(tally for of_split in tallies.values() for tally in of_split)
    if not totals["train"].images:
        raise no_images(encoder.source, (reason for _, reason in total.skipped))
    if "test" in totals and not totals["test"].images:
        raise UserError("none of the images that --held-out drew can be read: hold out more")
    skipped = [*encoder.source.skipped, *total.skipped]
    splits = {split: total_of_split.images for split, total_of_split in totals.items()}
    report = _report(encoder, total, splits, skipped) | {"plan": plan}
    _write_info(encoder, tallies, folder, report)
    table = io.StringIO()
    csv.writer(table).writerows([("name", "reason"), *skipped])
    write_atomically(folder / SKIPPED, table.getvalue())
    write_atomically(folder / REPORT, json.dumps(report, indent=2))
    return report


def _report(
    encoder: ExampleEncoder,
    total: Tally,
    splits: Mapping[str, int],
    skipped: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    source, labels, geometry = encoder.source, encoder.labels, encoder.spec.geometry
    entries = len(source) + len(source.skipped)
    reasons = Counter(reason for _, reason in skipped)
    names = labels.names if labels else ()
    return {
        "name": encoder.spec.name,
        "source": source.description.encode("utf-8", "replace").decode(),
        "size": f"{geometry.width}x{geometry.height}",
        "channels": geometry.channels,
        "splits": splits,
        "entries": entries,
        "left_out": entries - total.images - len(skipped),
        "skipped": dict(sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))),
        "stored_sizes": dict(total.sizes.most_common()),
        "stored_kinds": dict(total.kinds.most_common()),
        "notes": dict(total.notes.most_common()),
        "classes": {name: total.classes.get(str(i), 0) for i, name in enumerate(names)},
        "labels_of_no_picture": labels.unused if labels else 0,
        "megabytes": round(total.bytes / 1e6, 3),
        "fingerprint": checksum([dataclasses.astuple(geometry), total.digest]),
    }


def _write_info(
    encoder: ExampleEncoder,
    tallies: Mapping[str, Sequence[Tally]],
    folder: pathlib.Path,
    report: dict[str, Any],
) -> None:
    """Let TFDS write dataset_info.json and features.json."""
    from tensorflow_datasets.core.dataset_info import DatasetIdentity
    from tensorflow_datasets.core.splits import SplitDict

    name = encoder.spec.name
    identity = DatasetIdentity(
        name=name, version=tfds.core.Version(VERSION), data_dir=str(folder), module_name=""
    )
    geometry = dataclasses.asdict(encoder.spec.geometry)
    info = tfds.core.DatasetInfo(
        builder=identity,  # pyright: ignore[reportArgumentType] - as TFDS's own folder_dataset does
        description=f"{report['splits']['train']} images of {report['source']}",
        features=encoder.features,
        disable_shuffling=True,  # records lie in the order of the source
        metadata=tfds.core.MetadataDict(geometry | {"fingerprint": report["fingerprint"]}),
    )
    info.set_file_format("array_record")
    template = tfds.core.ShardedFileTemplate(
        data_dir=epath.Path(folder), dataset_name=name, filetype_suffix="array_record"
    )
    info.set_splits(
        SplitDict(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[tally.images for tally in of_split],
                num_bytes=sum(tally.bytes for tally in of_split),
                filename_template=template.replace(split=split),
            )
            for split, of_split in tallies.items()
        )
    )
    info.write_to_directory(folder)
