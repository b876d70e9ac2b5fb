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
    text = json.dumps(list(names), indent=2, ensure_ascii=False)
    write_atomically(run / CLASSES_FILE, text + "\n")


def load_class_names(run: pathlib.Path, count: int) -> list[str]:
    """Return the names of a run's `count` classes; their numbers if it has no names, as imports."""
    path = run / CLASSES_FILE
    if not path.exists():
        return [str(number) for number in range(count)]
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path} is not a list of names")
    if len(names) != count:
        raise UserError(f"{path} names {len(names)} classes, but the generator has {count}")
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
