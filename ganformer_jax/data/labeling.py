"""Classes and conditions of images: from the source, subfolders, a dataset.json or a table."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ganformer_jax.data.label_tables import (
    Table,
    check_table,
    labels_by_name,
    normalized_name,
    read_json,
    read_table,
)
from ganformer_jax.data.sources.conditions import Conditions, conditions_of_lists
from ganformer_jax.data.sources.source import (
    MAX_CLASSES,
    Labels,
    Source,
    class_order,
    classes_of_numbers,
    labels_from,
)
from ganformer_jax.errors import UserError

STYLEGAN_FILE = "dataset.json"
_NO_CLASS = -1


def find_labels(source: Source, choice: str) -> Labels | Conditions | None:
    """Find the class, or the condition, of every entry.

    Args:
        source: Source of the images.
        choice: "auto" for the labels of the source or its dataset.json, if any; "none"; "folders"
            for the names of the folders that contain the images; or the path of a .json or .csv
            file.

    Returns:
        Classes, or conditions if the labels are vectors of numbers; None if there are no labels.

    Raises:
        UserError: If the choice is unknown, or the file cannot be read or names no image.
    """
    check_choice(choice)
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
    return _of_table(source, read_table(pathlib.Path(choice)), choice)


def check_choice(choice: str) -> None:
    """Raise UserError if a choice of `find_labels` is unknown, or names no file."""
    if choice not in ("auto", "none", "folders"):
        check_table(pathlib.Path(choice), "labels", "auto, none, folders, or ")


def _of_companion(source: Source) -> Labels | Conditions | None:
    """Read dataset.json from the deepest folder that contains all images, or from one above it."""
    above = _common(_folders(source))
    for folder in (above, *above.parents):
        path = (folder / STYLEGAN_FILE).as_posix()
        contents = source.companion(path)
        if contents is not None:
            table = read_json(contents, path)
            if table is not None:
                labels = {(folder / name).as_posix(): label for name, label in table.labels.items()}
                table = table._replace(labels=labels)
            return _of_table(source, table, path)
    return None


def _folders(source: Source) -> list[pathlib.PurePosixPath]:
    return [pathlib.PurePosixPath(name.replace("\\", "/")).parent for name in source.names]


def _of_folders(source: Source) -> Labels:
    folders = _folders(source)
    above = _common(folders)  # shared by all images, so it does not distinguish classes
    in_folder = any(path.is_dir() for path in source.paths)  # an archive often has one top folder
    if above in folders and (in_folder or len(set(folders)) == 1):  # then it is a class itself
        above = above.parent
    names = [folder.relative_to(above).as_posix() for folder in folders]
    if set(names) <= {"."}:
        raise UserError(f"{source.description} has no subfolders to take classes from")
    classes = sorted(set(names) - {"."}, key=class_order)
    return _numbered([None if name == "." else name for name in names], classes, "folders")


def _common(folders: Sequence[pathlib.PurePosixPath]) -> pathlib.PurePosixPath:
    """Return the deepest folder that contains all of them."""
    prefix = os.path.commonprefix([folder.parts for folder in folders])  # of tuples, not of strings
    return pathlib.PurePosixPath(*prefix)


def _composed(*groups: Collection[str]) -> Mapping[str, str]:
    """Return each name in Unicode's composed form (NFC), as macOS decomposes file names.

    Names of one group that would become equal are left as they are.
    """
    spelled = {name: unicodedata.normalize("NFC", name) for group in groups for name in group}
    counts = [Counter(spelled[name] for name in set(group)) for group in groups]
    return {n: n if any(count[s] > 1 for count in counts) else s for n, s in spelled.items()}


def _without_zeros(name: str) -> str:
    return name.lstrip("0") or "0" if name.isdecimal() else name


def _of_table(source: Source, table: Table | None, where: str) -> Labels | Conditions | None:
    if table is None:
        return None
    labels, unused = labels_of_entries(source, table.labels, where)
    numbers = None if table.condition_names is not None else _of_single_numbers(labels, where)
    if numbers is not None:
        return dataclasses.replace(numbers, unused=unused)
    if table.condition_names is not None or _are_vectors(labels):
        conditions = conditions_of_lists(labels, table.condition_names, where)
        return dataclasses.replace(conditions, unused=unused)
    return dataclasses.replace(_of_values(labels, where), unused=unused)


def labels_of_entries(
    source: Source, by_name: Mapping[str, Any], where: str, what: str = "class"
) -> tuple[list[Any], int]:
    """Return the label of each entry, or None, and the number of labels that name no entry.

    Args:
        source: Source of the images.
        by_name: Labels by the names of images, as in a `Table`.
        where: Name of the file of labels, for messages.
        what: What a label is, for messages: "class" or "caption".

    Raises:
        UserError: If no entry has a label, or two labels name the same entry.
    """
    names = [normalized_name(name) for name in source.names]
    if all(name.isdecimal() for name in names):  # images of an array: 7 and 0007 are the same
        names = [_without_zeros(name) for name in names]
        rows = [(_without_zeros(name), label) for name, label in by_name.items()]
        by_name = labels_by_name(rows, where, what)
    spelled = _composed(names, by_name)
    names = [spelled[name] for name in names]
    by_name = {spelled[name]: label for name, label in by_name.items()}
    labels = [None if by_name.get(name) == "" else by_name.get(name) for name in names]
    if all(label is None for label in labels):
        raise UserError(
            f"{where} labels none of the images: it should use their names in "
            f"{source.description}, such as {next(iter(source.names), 'none')}"
        )
    return labels, len(set(by_name) - set(names))


def _of_single_numbers(labels: Sequence[Any], where: str) -> Labels | None:
    """Read lists of one number each like an array of numbers; None if labels are not such lists."""
    values = [[-1] if label is None else label for label in labels]
    if not all(type(value) is list and len(value) == 1 for value in values):
        return None
    if not all(type(value) in (int, float) and abs(value) < MAX_CLASSES for [value] in values):
        return None
    return labels_from(np.array(values), len(values), where)


def _are_vectors(labels: Sequence[Any]) -> bool:
    """Return whether all labels are lists and they are not all one-hot vectors of one length."""
    found = [label for label in labels if label is not None]
    if not all(type(label) is list for label in found):
        return False
    lengths = {len(label) for label in found}
    return len(lengths) > 1 or 0 in lengths or not all(map(_is_class, found))


def _of_values(labels: Sequence[Any], where: str) -> Labels:
    """Return classes from names, numbers or one-hot vectors; None is an entry without a label."""
    found = [label for label in labels if label is not None]
    kinds = {type(label) for label in found}
    if kinds <= {int, str} and str in kinds:
        return _numbered(labels, sorted(set(found), key=class_order), where)
    if kinds == {int}:  # as in StyleGAN's datasets
        if min(found) < 0 or max(found) >= MAX_CLASSES:
            raise UserError(f"{where} has classes outside 0..{MAX_CLASSES - 1}")
        return _numbered(labels, classes_of_numbers(np.array(found)), where)
    if kinds == {list}:  # otherwise they are conditions
        numbers = [None if label is None else _hot(label) for label in labels]
        numbers = [None if number == _NO_CLASS else number for number in numbers]
        return _numbered(numbers, range(len(found[0])), where)
    odd = next((label for label in found if not _is_class(label)), found[-1])
    raise UserError(
        f"{where} has the label {str(odd)[:50]}: labels should be integers, names or lists of "
        "numbers, of the same kind for all images"
    )


def _hot(vector: Sequence[Any]) -> int | None:
    """Return the index of the 1 in a one-hot vector, -1 for all zeros, None for other vectors."""
    if not all(type(value) in (int, float) and value in (0, 1) for value in vector):
        return None
    ones = [place for place, value in enumerate(vector) if value == 1]
    return None if len(ones) > 1 else ones[0] if ones else _NO_CLASS


def _is_class(label: Any) -> bool:
    return type(label) in (int, str) or (type(label) is list and _hot(label) is not None)


def _numbered(labels: Sequence[Any], classes: Sequence[Any], origin: str) -> Labels:
    numbers = {label: number for number, label in enumerate(classes)}
    if len(numbers) > MAX_CLASSES:
        raise UserError(f"{origin}: {len(numbers)} classes are too many, at most {MAX_CLASSES}")
    of_entries = np.array([-1 if label is None else numbers[label] for label in labels], np.int64)
    return Labels(tuple(map(str, classes)), of_entries, origin)
