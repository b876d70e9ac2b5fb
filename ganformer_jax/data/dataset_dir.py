"""The folder in which a dataset is prepared.

It holds one of two folders:

    data/NAME/1.0.0/        the whole dataset
    data/NAME/unfinished/   what is written of it so far, with its plan
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import tensorflow_datasets as tfds

from ganformer_jax.data.sources.source import Source
from ganformer_jax.errors import UserError, os_reason
from ganformer_jax.files import TEMPORARY, sync, write_atomically

VERSION = "1.0.0"
REPORT = "report.json"
PLAN = "prepare-plan.json"


def make_dataset_dir(dataset_dir: pathlib.Path, source: Source) -> None:
    """Make the folder, unless images would be written where they are read, or read where written.

    Raises:
        UserError: If that is so, or the folder cannot be made.
    """
    for place in source.places:
        if place.is_dir() and dataset_dir.resolve().is_relative_to(place.resolve()):
            raise UserError(
                f"{dataset_dir} is inside {source.description}: choose another --data-dir"
            )
        if place.resolve().is_relative_to(dataset_dir.resolve()):
            raise UserError(f"{source.description} is inside {dataset_dir}: choose another --name")
    try:
        dataset_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {dataset_dir}: {os_reason(error)}") from error


def read_finished(dataset_dir: pathlib.Path, plan: dict[str, Any]) -> dict[str, Any] | None:
    """Return the report of a finished dataset of this plan; None if there is no dataset.

    Raises:
        UserError: If there is another one.
    """
    folder = dataset_dir / VERSION
    if not folder.exists():
        return None
    try:
        report = json.loads((folder / REPORT).read_text())
        changes = _changes(report["plan"], plan, ("source", "pillow"))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder} is in the way: choose another --name") from error
    if changes:
        raise UserError(
            f"{folder} holds another dataset ({changes}): choose another --name, or delete that "
            "folder"
        )
    return report


def open_work_dir(dataset_dir: pathlib.Path, plan: dict[str, Any]) -> pathlib.Path:
    """Return the folder to work in: what an earlier call with this plan left, or a new one.

    Raises:
        UserError: If it was left by a call with another plan, or by another program.
    """
    work_dir = dataset_dir / "unfinished"
    if not os.path.lexists(work_dir):
        work_dir.mkdir()
    if work_dir.is_dir() and not work_dir.is_symlink():
        for cut_off in work_dir.glob(f"*{TEMPORARY}"):
            cut_off.unlink()
        if not any(work_dir.iterdir()):
            write_atomically(work_dir / PLAN, json.dumps(plan))
    try:
        changes = _changes(json.loads((work_dir / PLAN).read_text()), plan, ("source",))
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{work_dir} is in the way: choose another --name") from error
    if changes:
        raise UserError(
            f"{work_dir} was begun with other options ({changes}): use those to resume, choose "
            "another --name, or delete that folder"
        )
    return work_dir


def publish(work_dir: pathlib.Path, dataset_dir: pathlib.Path, report: dict[str, Any]) -> None:
    """Give a dataset its final name, once TFDS reads it as reported and it is on the disk."""
    info: Any = tfds.builder_from_directory(work_dir).info
    counts = {split: info.splits[split].num_examples for split in info.splits}
    names = [name.strip() for name in info.features["label"].names] if report["classes"] else []
    if counts != report["splits"] or names != [name.strip() for name in report["classes"]]:
        raise RuntimeError(f"TFDS reads {counts} images of {names}, not what was written")
    for path in (*work_dir.iterdir(), work_dir):
        sync(path)
    os.replace(work_dir, dataset_dir / VERSION)
    sync(dataset_dir)


def remove_work_files(dataset_dir: pathlib.Path) -> None:
    """Remove what only an unfinished dataset needs."""
    folder = dataset_dir / VERSION
    for path in (*folder.glob("*.array_record-*.json"), folder / PLAN):
        path.unlink(missing_ok=True)


def _changes(old: dict[str, Any], new: dict[str, Any], ignored: Sequence[str]) -> str:
    """Describe what differs between two plans; "" if nothing does."""
    names = [name for name in new if name not in ignored and old.get(name) != new[name]]
    return "; ".join(f"{n} was {_short(old.get(n))}, now {_short(new[n])}" for n in names)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
