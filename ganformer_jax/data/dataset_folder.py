"""The folder in which a dataset is made: one process at a time, whole or not at all.

It holds one of two folders:

    data/NAME/1.0.0/        the dataset, whole
    data/NAME/unfinished/   what there is of it so far, with the plan it was begun with
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow_datasets as tfds

from ganformer_jax.data.description import VERSION
from ganformer_jax.data.parts import sync, write_whole
from ganformer_jax.data.sources.source import Labels, Source
from ganformer_jax.errors import UserError

REPORT = "report.json"
PLAN = "prepare-plan.json"


def check_place(source: Source, home: pathlib.Path) -> None:
    """Refuses to write where pictures are read, and to read where they are written."""
    for place in source.places:
        if place.is_dir() and home.resolve().is_relative_to(place.resolve()):
            raise UserError(f"{home} is inside {source.description}: choose another --data-dir")
        if place.resolve().is_relative_to(home.resolve()):
            raise UserError(f"{source.description} is inside {home}: choose another --name")


def make_folder(home: pathlib.Path) -> None:
    """Raises UserError if it cannot be made."""
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {home}: {error.strerror or error}") from error


@contextlib.contextmanager
def alone(home: pathlib.Path) -> Iterator[None]:
    """Locks a dataset's folder; a lock dies with its process."""
    handle = os.open(home, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another process is preparing {home}: wait until it ends") from error
        except OSError as error:
            raise UserError(f"cannot lock {home}: {error.strerror or error}") from error
        yield
    finally:
        os.close(handle)


def find_finished(home: pathlib.Path, plan: dict[str, Any]) -> dict[str, Any] | None:
    """The report of the same dataset, if it is there; UserError if another one is."""
    folder = home / VERSION
    if not folder.exists():
        return None
    try:
        report = json.loads((folder / REPORT).read_text())
        other = report["plan"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder} is in the way: choose another --name") from error
    changed = _changes(other, plan, ("source", "pillow"))
    if changed:
        raise UserError(
            f"{folder} holds another dataset ({changed}): choose another --name, or delete that "
            "folder"
        )
    return report


def _changes(old: dict[str, Any], new: dict[str, Any], aside: Sequence[str]) -> str:
    """What differs between two plans, in words; "" if nothing does."""
    names = [name for name in new if name not in aside and old.get(name) != new[name]]
    return "; ".join(f"{n} was {_short(old.get(n))}, now {_short(new[n])}" for n in names)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def begin(home: pathlib.Path, plan: dict[str, Any]) -> pathlib.Path:
    """The folder to work in: what an earlier call left, if it wanted the same, or a new one."""
    unfinished = home / "unfinished"
    if not os.path.lexists(unfinished):
        unfinished.mkdir()
        write_whole(unfinished / PLAN, json.dumps(plan).encode())
        return unfinished
    try:
        other = json.loads((unfinished / PLAN).read_text())
        changed = _changes(other, plan, ("source",))
    except (OSError, ValueError, AttributeError) as error:
        if unfinished.is_dir() and not unfinished.is_symlink() and not any(unfinished.iterdir()):
            unfinished.rmdir()  # killed before there was a plan
            return begin(home, plan)
        raise UserError(f"{unfinished} is in the way: choose another --name") from error
    if changed:
        raise UserError(
            f"{unfinished} was begun with other options ({changed}): give those again, choose "
            "another --name, or delete that folder"
        )
    for cut in unfinished.glob("*.writing"):
        cut.unlink()
    return unfinished


def publish(
    unfinished: pathlib.Path, folder: pathlib.Path, report: dict[str, Any], labels: Labels | None
) -> None:
    """Gives a dataset its name, once TFDS reads it as it was meant and it is on the disk."""
    info: Any = tfds.builder_from_directory(unfinished).info
    counts = {split: info.splits[split].num_examples for split in info.splits}
    names = list(info.features["label"].names) if labels is not None else []
    meant = [name.strip() for name in labels.names] if labels is not None else []
    if counts != report["splits"] or [name.strip() for name in names] != meant:
        raise RuntimeError(f"TFDS reads {counts} pictures of {names}, not what was written")
    for path in (*unfinished.iterdir(), unfinished):
        sync(path)
    os.replace(unfinished, folder)
    sync(folder.parent)


def tidy(folder: pathlib.Path) -> None:
    """Removes what only an unfinished dataset needs."""
    for note in (*folder.glob("*.array_record-*.json"), folder / PLAN):
        note.unlink(missing_ok=True)
