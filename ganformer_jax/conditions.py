"""Conditions of a run, vectors of numbers: their names, beside its config, and as text."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from ganformer_jax.classes import read_names, write_names
from ganformer_jax.errors import UserError, did_you_mean

CONDITIONS_FILE = "conditions.json"


def save_condition_names(names: Sequence[str], run: pathlib.Path) -> None:
    """Write the names of the numbers of a condition, in their order, to a run's folder."""
    write_names(run / CONDITIONS_FILE, names)


def load_condition_names(run: pathlib.Path, count: int) -> list[str] | None:
    """Return the names of a run's `count` numbers; None if it was not trained on conditions."""
    path = run / CONDITIONS_FILE
    return read_names(path, count, "numbers of a condition") if path.exists() else None


def parse_condition(text: str, names: Sequence[str]) -> list[float]:
    """Read a condition: "0.5,1,0", a number for each name; or "name=1,other=0.5", the others 0.

    Returns:
        One finite float32 number for each name.

    Raises:
        UserError: If there are too few or too many numbers, one is not finite, or a name is
            unknown or given twice.
    """
    pieces = text.split(",")
    if "=" not in text:
        if len(pieces) != len(names):
            raise UserError(f"{len(pieces)} numbers, but {expected(names)}")
        return [_number(piece) for piece in pieces]
    given: dict[str, float] = {}
    for piece in pieces:
        name, equals, value = piece.partition("=")
        name = name.strip()
        if not equals:
            raise UserError(f"{piece.strip()!r} among names: write all numbers as NAME=NUMBER")
        if name not in names:
            hint = did_you_mean(name, names) or f"; {expected(names)}"
            raise UserError(f"no number is called {name!r}{hint}")
        if name in given:
            raise UserError(f"{name} is given twice")
        given[name] = _number(value)
    return [given.get(name, 0.0) for name in names]


def expected(names: Sequence[str], most: int = 8) -> str:
    """Return in words what a condition of these names consists of."""
    more = ", ..." if len(names) > most else ""
    return f"a condition has {len(names)}: {', '.join(names[:most])}{more}"


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise UserError(f"{text.strip()!r} is not a number") from error
    if not abs(value) <= float(np.finfo(np.float32).max):  # also of NaN
        raise UserError(f"{text.strip()} is not a finite number")
    return float(np.float32(value))
