"""What a finished dataset says of itself: a summary for people, a description for TFDS."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds
from etils import epath

from ganformer_jax.data.parts import Recipe, Tally
from ganformer_jax.data.sources.source import checksum
from ganformer_jax.data.wish import Wish

VERSION = "1.0.0"


def summary(
    recipe: Recipe,
    wish: Wish,
    told: Mapping[str, Sequence[Tally]],
    whole: Tally,
    skipped: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    """Counts of what went in and what did not, as JSON.

    Args:
        recipe: How examples were made.
        wish: What was wanted.
        told: The tallies of every split.
        whole: Their sum.
        skipped: (name, reason) of all that was left out.
    """
    reasons: dict[str, int] = {}
    for _, reason in skipped:
        reasons[reason] = reasons.get(reason, 0) + 1
    classes = {}
    if recipe.labels is not None:
        names = recipe.labels.names
        classes = {names[i]: whole.classes.get(str(i), 0) for i in range(len(names))}
    entries = len(recipe.source) + len(recipe.source.skipped)
    used = whole.pictures + len(skipped)
    return {
        "name": wish.name,
        "source": recipe.source.description.encode("utf-8", "replace").decode(),
        "size": f"{wish.geometry.width}x{wish.geometry.height}",
        "channels": wish.geometry.channels,
        "splits": {split: Tally.total(tallies).pictures for split, tallies in told.items()},
        "entries": entries,
        "left_out": entries - used,
        "skipped": dict(sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))),
        "stored_sizes": dict(whole.sizes.most_common()),
        "stored_kinds": dict(whole.kinds.most_common()),
        "notes": dict(whole.notes.most_common()),
        "classes": classes,
        "labels_of_no_picture": recipe.labels.unused if recipe.labels else 0,
        "megabytes": round(whole.bytes / 1e6, 3),
        "fingerprint": checksum([dataclasses.astuple(wish.geometry), whole.digest]),
    }


def describe(
    recipe: Recipe,
    wish: Wish,
    told: Mapping[str, Sequence[Tally]],
    folder: pathlib.Path,
    report: dict[str, Any],
) -> None:
    """Lets TFDS write dataset_info.json and features.json; arguments as of `summary`."""
    from tensorflow_datasets.core.dataset_info import DatasetIdentity
    from tensorflow_datasets.core.splits import SplitDict

    identity = DatasetIdentity(
        name=wish.name, version=tfds.core.Version(VERSION), data_dir=str(folder), module_name=""
    )
    geometry = dataclasses.asdict(wish.geometry)
    info = tfds.core.DatasetInfo(
        builder=identity,  # pyright: ignore[reportArgumentType] - as TFDS's own folder_dataset does
        description=f"{report['splits']['train']} pictures of {report['source']}",
        features=recipe.features,
        disable_shuffling=True,  # records lie in the order of the source
        metadata=tfds.core.MetadataDict(geometry | {"fingerprint": report["fingerprint"]}),
    )
    info.set_file_format("array_record")
    template = tfds.core.ShardedFileTemplate(
        data_dir=epath.Path(folder), dataset_name=wish.name, filetype_suffix="array_record"
    )
    info.set_splits(
        SplitDict(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[tally.pictures for tally in tallies],
                num_bytes=sum(tally.bytes for tally in tallies),
                filename_template=template.replace(split=split),
            )
            for split, tallies in told.items()
        )
    )
    info.write_to_directory(folder)
