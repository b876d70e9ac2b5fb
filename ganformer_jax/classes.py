"""Names of the classes of a conditional run, stored beside its config."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence

from ganformer_jax.errors import UserError, did_you_mean
from ganformer_jax.files import write_atomically

CLASSES_FILE = "classes.json"


def save_class_names(names: Sequence[str], run: pathlib.Path) -> None:
    """Write the names of the classes, in order of class number, to a run's folder."""
    write_names(run / CLASSES_FILE, names)


def load_class_names(run: pathlib.Path, count: int) -> list[str]:
    """Return the names of a run's `count` classes; their numbers if it has no names, as imports."""
    path = run / CLASSES_FILE
    if not path.exists():
        return [str(number) for number in range(count)]
    return read_names(path, count, "classes")


def write_names(path: pathlib.Path, names: Sequence[str]) -> None:
    """Write a list of names as JSON, replacing the file."""
    write_atomically(path, json.dumps(list(names), indent=2, ensure_ascii=False) + "\n")


def read_names(path: pathlib.Path, count: int, what: str) -> list[str]:
    """Read what `write_names` wrote.

    Raises:
        UserError: If the file is damaged, or does not hold `count` names; `what` says of what.
    """
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path} is not a list of names")
    if len(names) != count:
        raise UserError(f"{path} names {len(names)} {what}, but the generator has {count}")
    return names


def find_class(name: str, names: Sequence[str]) -> int:
    """Return the number of the class with a name or, if no class has the name, with that number.

    Raises:
        UserError: If there is no such class.
    """
    if not names:
        raise UserError(f"no class {name}: the generator was trained without classes")
    if name in names:
        return names.index(name)
    if name.isdecimal() and int(name) < len(names):
        return int(name)
    hint = did_you_mean(name, names) or f"; classes are numbered from 0 to {len(names) - 1}"
    raise UserError(f"no class {name} among {len(names)} classes{hint}")


def classes_in_turn(count: int, classes: int) -> list[int] | None:
    """Return the class numbers 0, 1, ... in turn, `count` in all; None without classes."""
    return [i % classes for i in range(count)] if classes else None
