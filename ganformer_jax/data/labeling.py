"""Classes of images: what the source has, names of subfolders, StyleGAN's dataset.json, CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ganformer_jax.data.sources.source import MAX_CLASSES, Labels, Source, classes_of_numbers
from ganformer_jax.errors import UserError

STYLEGAN_FILE = "dataset.json"
_NO_CLASS = -1


def find_labels(source: Source, choice: str) -> Labels | None:
    """Find the class of every entry.

    Args:
        source: Source of the images.
        choice: "auto" for what the source or its dataset.json has, if anything; "none"; "folders"
            for the names of the folders that images lie in; or the path of a .json or .csv file.

    Returns:
        Labels, -1 for entries without one; None if there are no classes.

    Raises:
        UserError: If the choice makes no sense, or the file cannot be read or names no image.
    """
    if choice == "none":
        return None
    if choice == "folders":
        return _of_folders(source)
    if choice == "auto":
        if source.labels is not None:
            return source.labels
        if source.label_error:
            raise UserError(f"{source.label_error}: use --labels none to ignore it")
        try:
            return _of_companion(source)
        except UserError as error:
            raise UserError(f"{error}; use --labels none to ignore it") from error
    path = pathlib.Path(choice)
    if path.suffix.lower() not in (".json", ".csv"):
        raise UserError(f"--labels {choice}: use auto, none, folders, or a .json or .csv file")
    if not path.is_file():
        raise UserError(f"no file {path} with labels")
    read = _read_json if path.suffix.lower() == ".json" else _read_csv
    return _of_table(source, read(path.read_bytes(), choice), choice)


def _of_companion(source: Source) -> Labels | None:
    """Read StyleGAN's file, at the top or in the one folder that holds all images."""
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
    classes = sorted(set(names) - {"."}, key=_sort_key)
    return _numbered([None if name == "." else name for name in names], classes, "folders")


def _common(folders: Sequence[pathlib.PurePosixPath]) -> pathlib.PurePosixPath:
    """Return the folder above all of them."""
    prefix = os.path.commonprefix([folder.parts for folder in folders])  # of tuples, not of texts
    return pathlib.PurePosixPath(*prefix)


def _read_json(contents: bytes, where: str) -> Mapping[str, Any] | None:
    """Read {"labels": [["path", class], ...]} of StyleGAN; None if labels are null or empty."""
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
        raise UserError(f"{where} is not a CSV file in UTF-8: {error}") from error
    if not rows or any(len(row) != 2 for row in rows):
        raise UserError(f"{where} should have two columns, file and class, in every row")
    return _table([(name, label.strip()) for name, label in rows], where)


def _table(rows: Sequence[tuple[str, Any]], where: str) -> Mapping[str, Any]:
    """Return labels by normalized name."""
    table: dict[str, Any] = {}
    for name, label in rows:
        first = table.setdefault(_normalized(name), label)
        if first != label:
            raise UserError(f"{where} gives {name} two classes, {first} and {label}")
    return table


def _normalized(name: str) -> str:
    """Spell a path with forward slashes, without "." and surrounding blanks."""
    return pathlib.PurePosixPath(name.strip().replace("\\", "/")).as_posix()


def _without_zeros(name: str) -> str:
    return name.lstrip("0") or "0" if name.isdecimal() else name


def _of_table(source: Source, table: Mapping[str, Any] | None, where: str) -> Labels | None:
    if table is None:
        return None
    names = [_normalized(name) for name in source.names]
    if all(name.isdecimal() for name in names):  # of arrays: 7 and 0007 are the same image
        names = [_without_zeros(name) for name in names]
        table = _table([(_without_zeros(name), label) for name, label in table.items()], where)
    labels = [None if table.get(name) == "" else table.get(name) for name in names]
    if all(label is None for label in labels):
        raise UserError(
            f"{where} labels none of the images: it should name them as they are in "
            f"{source.description}, such as {next(iter(source.names), 'none')}"
        )
    unused = len(set(table) - set(names))
    return dataclasses.replace(_of_values(labels, where), unused=unused)


def _of_values(labels: Sequence[Any], where: str) -> Labels:
    """Return the classes of entries, from names, numbers or one-hot vectors; None for none."""
    found = [label for label in labels if label is not None]
    kinds = {type(label) for label in found}
    if kinds <= {int, str} and str in kinds:
        return _numbered(labels, sorted(set(found), key=_sort_key), where)
    if kinds == {int}:  # as StyleGAN has them
        if min(found) < 0 or max(found) >= MAX_CLASSES:
            raise UserError(f"{where} has classes outside 0..{MAX_CLASSES - 1}")
        return _numbered(labels, classes_of_numbers(np.array(found)), where)
    if kinds == {list} and len({len(label) for label in found}) == 1 and found[0]:
        numbers = [_NO_CLASS if label is None else _hot(label) for label in labels]
        if None not in numbers:
            numbers = [None if number == _NO_CLASS else number for number in numbers]
            return _numbered(numbers, range(len(found[0])), where)
    odd = next((label for label in found if not _is_class(label)), found[-1])
    raise UserError(
        f"{where} has the label {str(odd)[:50]}: only classes can be learned, one number, one name "
        "or one vector with a single 1 for each image, alike for all images"
    )


def _hot(vector: Sequence[Any]) -> int | None:
    """Return the place of the single 1 in a vector of zeros, -1 if there is none; else None."""
    if not all(type(value) in (int, float) and value in (0, 1) for value in vector):
        return None
    ones = [place for place, value in enumerate(vector) if value == 1]
    return None if len(ones) > 1 else ones[0] if ones else _NO_CLASS


def _is_class(label: Any) -> bool:
    return type(label) in (int, str) or (type(label) is list and _hot(label) is not None)


def _sort_key(label: Any) -> tuple[int, int, str]:
    """Sort names of classes by the alphabet; those that are numbers first, by size."""
    text = str(label)
    return (0, int(text), text) if text.isdecimal() and len(text) < 19 else (1, 0, text)


def _numbered(labels: Sequence[Any], classes: Sequence[Any], origin: str) -> Labels:
    numbers = {label: number for number, label in enumerate(classes)}
    if len(numbers) > MAX_CLASSES:
        raise UserError(f"{origin}: {len(numbers)} classes are too many, at most {MAX_CLASSES}")
    of_entries = np.array([-1 if label is None else numbers[label] for label in labels], np.int64)
    return Labels(tuple(map(str, classes)), of_entries, origin)
