"""The folder in which a dataset is prepared, its description for TFDS and its report.

It contains one of two folders:

    data/NAME/1.0.0/        the complete dataset
    data/NAME/unfinished/   the part that is written so far, with its plan
"""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import os
import pathlib
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds
from etils import epath

from ganformer_jax.captions import TOKENIZER_FILE, vocabulary_of
from ganformer_jax.data.example_encoder import ExampleEncoder
from ganformer_jax.data.find import CONDITION_NAMES, UNFINISHED, VERSIONS
from ganformer_jax.data.sources.conditions import Conditions
from ganformer_jax.data.sources.source import Source, checksum, no_images
from ganformer_jax.data.tally import Tally
from ganformer_jax.errors import UserError, os_reason
from ganformer_jax.files import TEMPORARY, is_moving, move_folder, sync, write_atomically

VERSION = "1.0.0"
DESCRIPTION = "dataset_info.json"  # TFDS recognizes a dataset by this file
REPORT = "report.json"
PLAN = "prepare-plan.json"
SKIPPED = "skipped.csv"
# Entries of a plan that are checksums, and what it means if they differ.
_CHECKSUMS = {
    "entries": "images, times of their files, or their labels have changed",
    "segments": "label images or times of their files have changed",
    "tokenizer": "words of the captions have changed",
}


def make_dataset_dir(dataset_dir: pathlib.Path, source: Source) -> None:
    """Create the folder.

    Raises:
        UserError: If it is inside the source, the source is inside it, it contains another dataset,
            or it cannot be created.
    """
    for place in source.paths:
        if place.is_dir() and dataset_dir.resolve().is_relative_to(place.resolve()):
            raise UserError(
                f"{dataset_dir} is inside {source.description}: choose another --data-dir"
            )
        if place.resolve().is_relative_to(dataset_dir.resolve()):
            raise UserError(f"{source.description} is inside {dataset_dir}: choose another --name")
    others = {path.parent.name for path in dataset_dir.glob(VERSIONS)} - {VERSION, UNFINISHED}
    if others:
        raise UserError(
            f"{dataset_dir} holds another dataset, version {min(others)}: choose another --name"
        )
    try:
        dataset_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create {dataset_dir}: {os_reason(error)}") from error


def read_finished(dataset_dir: pathlib.Path, plan: dict[str, Any]) -> dict[str, Any] | None:
    """Return the report of a finished dataset of this plan; None if there is no dataset."""
    folder = dataset_dir / VERSION
    if not folder.exists():
        return None
    try:
        report = json.loads((folder / REPORT).read_text())
        changes = _changes(report["plan"], plan, ("source", "pillow"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder} was not written by `prepare`: choose another --name") from error
    if changes:
        raise UserError(
            f"{folder} holds another dataset ({changes}): choose another --name, or delete that "
            "folder"
        )
    return report


def open_work_dir(dataset_dir: pathlib.Path, plan: dict[str, Any]) -> pathlib.Path:
    """Return the folder to work in: the one that an earlier call with this plan left, or a new one.

    Raises:
        UserError: If the folder is from another plan or another program.
    """
    work_dir = dataset_dir / UNFINISHED
    if not os.path.lexists(work_dir):
        work_dir.mkdir()
    if work_dir.is_dir() and not work_dir.is_symlink():
        for cut_off in work_dir.glob(f"*{TEMPORARY}"):
            cut_off.unlink()
        if not any(work_dir.iterdir()):
            write_atomically(work_dir / PLAN, json.dumps(plan))
    try:
        changes = _changes(json.loads((work_dir / PLAN).read_text()), plan, ("source",))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{work_dir} was not written by `prepare`: choose another --name"
        ) from error
    if changes:
        raise UserError(
            f"{work_dir} was started with different options or images ({changes}): resume with "
            "those, choose another --name, or delete that folder"
        )
    return work_dir


def remove_work_dir(work_dir: pathlib.Path) -> None:
    """Remove the folder that `open_work_dir` returned, of which no dataset can be made."""
    shutil.rmtree(work_dir, ignore_errors=True)


def why_unusable(
    encoder: ExampleEncoder, tallies: Mapping[str, Sequence[Tally]]
) -> UserError | None:
    """Return the error for a split without an image; None if all splits have some."""
    images = {split: sum(t.images for t in of_split) for split, of_split in tallies.items()}
    if not images["train"]:
        tallied = itertools.chain.from_iterable(tallies.values())
        return no_images(encoder.source, (reason for t in tallied for _, reason in t.skipped))
    if "test" in images and not images["test"]:
        return UserError("none of the images drawn by --held-out can be read: hold out more")
    return None


def write_description(
    encoder: ExampleEncoder,
    tallies: Mapping[str, Sequence[Tally]],
    folder: pathlib.Path,
    plan: dict[str, Any],
) -> dict[str, Any]:
    """Write TFDS's description, the list of skipped entries, and the report; return the report."""
    totals = {split: Tally.total(of_split) for split, of_split in tallies.items()}
    total = Tally.total(tally for of_split in tallies.values() for tally in of_split)
    splits = {split: total_of_split.images for split, total_of_split in totals.items()}
    report = _report(encoder, total, splits) | {"plan": plan}
    if total.deep_range is not None:
        report["range_of_16_bits"] = total.deep_range
    if encoder.labels is None and encoder.source.label_columns:
        report["class_columns"] = list(encoder.source.label_columns)
    _write_info(encoder, tallies, folder, report)
    if tokenizer := _tokenizer(encoder):
        write_atomically(folder / TOKENIZER_FILE, tokenizer)
    table = io.StringIO()
    skipped = [*encoder.source.skipped, *total.skipped]
    csv.writer(table).writerows([("name", "reason"), *skipped])
    write_atomically(folder / SKIPPED, table.getvalue())
    write_atomically(folder / REPORT, json.dumps(report, indent=2))
    return report


def _report(encoder: ExampleEncoder, total: Tally, splits: Mapping[str, int]) -> dict[str, Any]:
    source, labels, geometry = encoder.source, encoder.labels, encoder.spec.geometry
    entries = len(source) + len(source.skipped)
    reasons = Counter(reason for _, reason in (*source.skipped, *total.skipped))
    names = () if labels is None or isinstance(labels, Conditions) else labels.names
    conditions: dict[str, Any] = {}
    if isinstance(labels, Conditions):
        conditions = {"conditions": labels.ranges()}
        if labels.tokenizer:
            conditions["tokens"] = vocabulary_of(labels.tokenizer)
    return {
        "name": encoder.spec.name,
        "source": source.description.encode("utf-8", "replace").decode(),
        "size": f"{geometry.width}x{geometry.height}",
        "channels": geometry.channels,
        "splits": splits,
        "entries": entries,
        "left_out": entries - total.images - reasons.total(),
        "skipped": dict(sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))),
        "stored_sizes": dict(total.sizes.most_common()),
        "stored_kinds": dict(total.kinds.most_common()),
        "notes": dict(total.notes.most_common()),
        "classes": {name: total.classes.get(str(i), 0) for i, name in enumerate(names)},
        **conditions,
        "labels_of_no_picture": labels.unused if labels else 0,
        "megabytes": round(total.bytes / 1e6, 3),
        "fingerprint": checksum(
            [dataclasses.astuple(geometry), total.digest, *filter(None, [_tokenizer(encoder)])]
        ),
    }


def _tokenizer(encoder: ExampleEncoder) -> str:
    """Return the tokenizer of captions; "" if labels are not captions."""
    return encoder.labels.tokenizer if isinstance(encoder.labels, Conditions) else ""


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
    facts = dataclasses.asdict(encoder.spec.geometry) | {"fingerprint": report["fingerprint"]}
    if "conditions" in report:
        facts[CONDITION_NAMES] = list(report["conditions"])
    info = tfds.core.DatasetInfo(
        builder=identity,  # pyright: ignore[reportArgumentType] - as TFDS's own folder_dataset does
        description=f"{report['splits']['train']} images of {report['source']}",
        features=encoder.features,
        disable_shuffling=True,  # records lie in the order of the source
        metadata=tfds.core.MetadataDict(facts),
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


def publish(work_dir: pathlib.Path, dataset_dir: pathlib.Path, report: dict[str, Any]) -> None:
    """Rename a dataset to its final name, after checking that TFDS reads it as reported."""
    info: Any = tfds.builder_from_directory(work_dir).info
    counts = {split: info.splits[split].num_examples for split in info.splits}
    names = [name.strip() for name in info.features["label"].names] if report["classes"] else []
    conditions = list((info.metadata or {}).get(CONDITION_NAMES, ()))
    as_reported = [name.strip() for name in report["classes"]], list(report.get("conditions", ()))
    if counts != report["splits"] or (names, conditions) != as_reported:
        names = names or conditions
        raise RuntimeError(f"TFDS reads {counts} images of {names}, which is not what was written")
    for path in (*work_dir.iterdir(), work_dir):
        sync(path)
    move_folder(work_dir, dataset_dir / VERSION, last=[DESCRIPTION])
    sync(dataset_dir)


def finish_publishing(dataset_dir: pathlib.Path) -> None:
    """Finish an interrupted `publish` on a disk that cannot rename folders."""
    if is_moving(dataset_dir / UNFINISHED):
        move_folder(dataset_dir / UNFINISHED, dataset_dir / VERSION, last=[DESCRIPTION])


def remove_work_files(dataset_dir: pathlib.Path) -> None:
    """Remove the files that only an unfinished dataset needs."""
    folder = dataset_dir / VERSION
    for path in (*folder.glob("*.array_record-*.json"), folder / PLAN):
        path.unlink(missing_ok=True)


def _changes(old: dict[str, Any], new: dict[str, Any], ignored: Sequence[str]) -> str:
    """Describe what differs between two plans; "" if nothing does."""
    old, new = _without_origin(old), _without_origin(new)
    names = [n for n in {**new, **old} if n not in ignored and old.get(n) != new.get(n)]
    return "; ".join(_change(name, old.get(name), new.get(name)) for name in names)


def _without_origin(plan: dict[str, Any]) -> dict[str, Any]:
    """Return a plan without the path of the file of labels, as for the source itself."""
    labels = plan.get("labels")
    if not isinstance(labels, dict):
        return plan
    return {**plan, "labels": {k: v for k, v in labels.items() if k != "origin"}}


def _change(name: str, old: Any, new: Any) -> str:
    if name in _CHECKSUMS and isinstance(old, str) and isinstance(new, str):
        return _CHECKSUMS[name]
    return f"{name} was {_short(old)}, now {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
