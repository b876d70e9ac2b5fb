"""What untrusted files may name and hold: names, arrays and arguments, within bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ganformer_jax.convert.pickle_machine import Budget, PickleError, printable

MAX_NAME = 300  # characters
MAX_TEXT = 1000
MAX_INTEGER = 1 << 17  # among the arguments of a network
MAX_ITEMS = 32  # of a list among them


def named(held: Any, prefix: str, budget: Budget) -> Iterator[tuple[str, Any]]:
    """Items of a dict whose keys are names."""
    if not isinstance(held, dict):
        raise PickleError("parts of a network that have no names")
    for name, value in held.items():
        budget.spend()
        if not isinstance(name, str) or len(prefix) + len(name) > MAX_NAME:
            raise PickleError("a part of a network whose name is no name")
        if not (name.isascii() and name.isprintable()):
            raise PickleError(f"a part of a network with the name {printable(name)}")
        yield name, value


def once(arrays: Iterator[tuple[str, np.ndarray]], budget: Budget) -> dict[str, np.ndarray]:
    """Arrays by name, none of which may come twice, and in all no more than the file explains."""
    found: dict[str, np.ndarray] = {}
    count = 0
    for name, array in arrays:
        if name in found:
            raise PickleError(f"two arrays are called {name}")
        found[name] = array
        count += array.size
        if count > budget.size:  # of one byte at least
            raise PickleError("its arrays share more numbers than the file has bytes")
    return found


def plain_arguments(
    values: Any, owner: str, budget: Budget, largest: int | None = None
) -> dict[str, Any]:
    """Arguments as plain values.

    Args:
        values: A dict of them.
        owner: Whose they are, for messages.
        budget: Of the file.
        largest: What integers may be at most.

    Raises:
        PickleError: There are none, or some are not plain or larger than any network's.
    """
    if not isinstance(values, dict):
        raise PickleError(f"{owner} has no arguments")
    plain = _plain_value(values, f"the arguments of {owner}", 0, budget, largest)
    assert isinstance(plain, dict)
    return plain


def _plain_value(value: Any, where: str, depth: int, budget: Budget, largest: int | None) -> Any:
    budget.spend()
    if depth > 5:
        raise PickleError(f"{where} are nested too deep")
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, str) and len(value) <= MAX_TEXT:
        return value
    if isinstance(value, int) and (largest is None or abs(value) <= largest):
        return value
    if isinstance(value, list | tuple) and len(value) <= MAX_ITEMS:
        items = (_plain_value(item, where, depth + 1, budget, largest) for item in value)
        return type(value)(items)
    if isinstance(value, dict):
        return {
            name: _plain_value(item, where, depth + 1, budget, largest)
            for name, item in named(value, "", budget)
        }
    raise PickleError(f"{where} hold a {type(value).__name__} that is not plain, or too large")
