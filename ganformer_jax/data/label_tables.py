"""Tables of labels or captions by the names of images: CSV files, and JSON as StyleGAN has it."""

from __future__ import annotations

import csv
import io
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ganformer_jax.errors import UserError, os_reason

_PLURAL = {"class": "classes", "caption": "captions"}


class Table(NamedTuple):
    """Labels by the names of images."""

    labels: Mapping[str, Any]
    condition_names: Any = None  # value of this key; if there is one, the labels are conditions


def check_table(path: pathlib.Path, option: str, others: str = "") -> None:
    """Raise UserError unless a path is that of a .json or .csv file.

    Args:
        path: The path.
        option: Name of the option that gives it, for messages: "labels" or "captions".
        others: Other values that the option may have, for messages.
    """
    if path.suffix.lower() not in (".json", ".csv"):
        raise UserError(f"--{option} {path}: use {others}a .json or .csv file")
    if not path.is_file():
        raise UserError(f"no file {path} with {option}")


def read_table(path: pathlib.Path, what: str = "class") -> Table | None:
    """Read a .csv file, or a .json file.

    Args:
        path: The file.
        what: What a label is, for messages: "class" or "caption".

    Returns:
        None if a .json file has no labels.

    Raises:
        UserError: If the file cannot be read.
    """
    try:
        contents = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {os_reason(error)}") from error
    read = _read_csv if path.suffix.lower() == ".csv" else read_json
    return read(contents, str(path), what)


def read_json(contents: bytes, where: str, what: str = "class") -> Table | None:
    """Read {"labels": [["path", class], ...]} of StyleGAN; None if labels are null or empty."""
    try:
        values = json.loads(contents)
        rows, names = values["labels"], values.get("condition_names")
        if rows in (None, []):
            return None
        return Table(labels_by_name([(str(n), label) for n, label in rows], where, what), names)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f'{where} has no labels in StyleGAN\'s format: {{"labels": [["file", {what}], ...]}}'
        ) from error


def _read_csv(contents: bytes, where: str, what: str = "class") -> Table:
    try:
        rows = [row for row in csv.reader(io.StringIO(contents.decode("utf-8-sig"))) if row]
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{where} is not a CSV file in UTF-8: {error}") from error
    if not rows or any(len(row) != 2 for row in rows):
        raise UserError(
            f"{where} should have two columns separated by a comma in every row: file,{what}"
        )
    return Table(labels_by_name([(row[0], row[1]) for row in rows], where, what))


def labels_by_name(
    rows: Sequence[tuple[str, Any]], where: str, what: str = "class"
) -> Mapping[str, Any]:
    """Return labels by normalized name; words without surrounding spaces."""
    table: dict[str, Any] = {}
    for name, given in rows:
        label = given.strip() if isinstance(given, str) else given
        first = table.setdefault(normalized_name(name), label)
        if first is not label and first != label:
            raise UserError(
                f"{where} gives {name} two {_PLURAL[what]}, {_short(first)} and {_short(label)}"
            )
    return table


def normalized_name(name: str) -> str:
    """Return a path with forward slashes, without "." components and surrounding spaces."""
    return pathlib.PurePosixPath(name.strip().replace("\\", "/")).as_posix()


def _short(label: Any) -> str:
    return str(label)[:50]
