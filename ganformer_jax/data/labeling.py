"""Classes of pictures: what the source has, names of subfolders, StyleGAN's dataset.json, CSV."""

from __future__ import annotations

import collections
import csv
import dataclasses
import io
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ganformer_jax.data.sources.shared import MAX_CLASSES
from ganformer_jax.data.sources.source import Labels, Source
from ganformer_jax.errors import UserError

STYLEGAN_FILE = "dataset.json"


def find_labels(source: Source, choice: str) -> Labels | None:
    """Finds the class of every entry.

    Args:
        source: Where the pictures are.
        choice: "auto" for what the source stores or its dataset.json says, else none; "none";
            "folders" for the names of the folders that pictures lie in; or a .json or .csv file.

    Returns:
        Labels, -1 for entries without one; None if there are no classes.

    Raises:
        UserError: If the choice makes no sense, or the file cannot be read or names no picture.
    """
    if choice == "none":
        return None
    if choice == "folders":
        return _of_folders(source)
    if choice == "auto":
        if source.labels is not None:
            return source.labels
        if source.complaint:
            raise UserError(f"{source.complaint}: --labels none leaves it out")
        try:
            return _of_companion(source)
        except UserError as error:
            raise UserError(f"{error}; --labels none leaves it out") from error
    path = pathlib.Path(choice)
    if path.suffix.lower() not in (".json", ".csv"):
        raise UserError(f"--labels {choice}: say auto, none, folders, or name a .json or .csv file")
    if not path.is_file():
        raise UserError(f"no file {path} with labels")
    read = _read_json if path.suffix.lower() == ".json" else _read_csv
    return _of_table(source, read(path.read_bytes(), choice), choice)


def _of_companion(source: Source) -> Labels | None:
    """StyleGAN's file, at the top or in the one folder that holds all pictures."""
    above = _common(_folders(source))
    for folder in (above, *above.parents):
        path = (folder / STYLEGAN_FILE).as_posix()
        contents = source.companion(path)
        if contents is not None:
            table = _read_json(contents, path)
            if table is not None:
                table = {(folder / name).as_posix(): label for name, label in table.items()}
            return _of_table(source, table, path)
    return None


def _folders(source: Source) -> list[pathlib.PurePosixPath]:
    return [pathlib.PurePosixPath(name.replace("\\", "/")).parent for name in source.names]


def _of_folders(source: Source) -> Labels:
    folders = _folders(source)
    above = _common(folders)  # which says nothing about classes
    if above in folders and len(set(folders)) == 1:
        above = above.parent
    names = [folder.relative_to(above).as_posix() for folder in folders]
    if set(names) <= {"."}:
        raise UserError(f"{source.description} has no subfolders to take classes from")
    named = {name: None for name in sorted(set(names) - {"."}, key=_in_order)}
    return _numbered([None if name == "." else name for name in names], named, "folders")


def _common(folders: Sequence[pathlib.PurePosixPath]) -> pathlib.PurePosixPath:
    """The folder above all of them."""
    shared: list[str] = []
    for parts in zip(*{folder.parts for folder in folders}, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return pathlib.PurePosixPath(*shared)


def _read_json(contents: bytes, where: str) -> Mapping[str, Any] | None:
    """StyleGAN's {"labels": [["path", class], ...]}; None where labels are null or empty."""
    try:
        rows = json.loads(contents)["labels"]
        return None if rows in (None, []) else _table([(str(n), label) for n, label in rows], where)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f'{where} has no labels as StyleGAN writes them: {{"labels": [["file", class], ...]}}'
        ) from error


def _read_csv(contents: bytes, where: str) -> Mapping[str, Any]:
    try:
        rows = [row for row in csv.reader(io.StringIO(contents.decode("utf-8-sig"))) if row]
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{where} is no CSV file in UTF-8: {error}") from error
    if not rows or any(len(row) != 2 for row in rows):
        raise UserError(f"{where} should have two columns, file and class, in every row")
    return _table([(name, label.strip()) for name, label in rows], where)


def _table(rows: Sequence[tuple[str, Any]], where: str) -> Mapping[str, Any]:
    """Labels by the name of a picture, spelled in one way."""
    found: dict[str, Any] = {}
    for name, label in rows:
        if found.setdefault(_spelled(name), label) != label:
            raise UserError(
                f"{where} gives {name} two classes, {found[_spelled(name)]} and {label}"
            )
    return found


def _spelled(name: str) -> str:
    """A name as it is looked up: forward slashes, nothing that leads nowhere."""
    return pathlib.PurePosixPath(name.strip().replace("\\", "/")).as_posix()


def _without_zeros(name: str) -> str:
    return name.lstrip("0") or "0" if name.isdecimal() else name


def _of_table(source: Source, table: Mapping[str, Any] | None, where: str) -> Labels | None:
    if table is None:
        return None
    names = [_spelled(name) for name in source.names]
    if all(name.isdecimal() for name in names):  # of arrays: 7 and 0007 are the same picture
        names = [_without_zeros(name) for name in names]
        table = _table([(_without_zeros(name), label) for name, label in table.items()], where)
    found = [None if table.get(name) == "" else table.get(name) for name in names]
    if all(label is None for label in found):
        raise UserError(
            f"{where} labels none of the pictures: it should name them as they are in "
            f"{source.description}, such as {next(iter(source.names), 'none')}"
        )
    wrong = next(
        (
            label
            for label in found
            if not isinstance(label, str | int | None) or isinstance(label, bool)
        ),
        None,
    )
    if wrong is not None:
        raise UserError(f"{where} has the label {str(wrong)[:50]}: only classes can be learned")
    used = collections.Counter(label for label in found if label is not None)
    if all(isinstance(label, int) for label in used):  # StyleGAN's: numbers from 0 up
        _check_numbers([int(label) for label in used], where)
        order = {label: None for label in range(max(map(int, used)) + 1)}
    else:
        order = {label: None for label in sorted(used, key=_in_order)}
    unused = len(set(table) - set(names))
    return dataclasses.replace(_numbered(found, order, where), unused=unused)


def _in_order(label: Any) -> tuple[int, int, str]:
    """Names of classes by the alphabet; those that are numbers first, by size."""
    text = str(label)
    return (0, int(text), text) if text.isdecimal() and len(text) < 19 else (1, 0, text)


def _check_numbers(numbers: Sequence[int], where: str) -> None:
    if min(numbers) < 0 or max(numbers) >= MAX_CLASSES:
        raise UserError(f"{where} has classes out of 0..{MAX_CLASSES - 1}")


def _numbered(found: Sequence[Any], order: Mapping[Any, None], origin: str) -> Labels:
    ids = {label: i for i, label in enumerate(order)}
    if len(ids) > MAX_CLASSES:
        raise UserError(f"{origin}: {len(ids)} classes are too many, at most {MAX_CLASSES}")
    classes = np.array([-1 if label is None else ids[label] for label in found], np.int64)
    return Labels(tuple(map(str, ids)), classes, origin)
