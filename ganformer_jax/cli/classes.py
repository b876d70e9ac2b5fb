"""The names of the classes of a conditional run, kept beside its config."""

from __future__ import annotations

import difflib
import json
import pathlib
from collections.abc import Sequence

from ganformer_jax.errors import UserError

CLASSES_FILE = "classes.json"


def save_class_names(names: Sequence[str], run: pathlib.Path) -> None:
    """Writes a list of names, in the order of the classes, where `load_class_names` looks."""
    text = json.dumps(list(names), indent=2, ensure_ascii=False)
    (run / CLASSES_FILE).write_text(text + "\n", encoding="utf-8")


def load_class_names(run: pathlib.Path, count: int) -> list[str]:
    """Names of so many classes; their numbers where the run has no names, as imported ones.

    Raises:
        UserError: If the file of names cannot be read or has other than `count` names.
    """
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


def find_class(asked: str, names: Sequence[str]) -> int:
    """Number of the class with this name, or else with this number.

    Raises:
        UserError: If there is none, with the name that comes nearest.
    """
    if not names:
        raise UserError(f"--class {asked}: the generator was trained without classes")
    if asked in names:
        return names.index(asked)
    if asked.isdecimal() and int(asked) < len(names):
        return int(asked)
    near = difflib.get_close_matches(asked, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"they are numbered from 0 to {len(names) - 1}"
    raise UserError(f"--class {asked}: there are {len(names)} classes, none of them that; {hint}")
