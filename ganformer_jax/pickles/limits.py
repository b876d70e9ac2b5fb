"""Limits for untrusted files: on the work of reading them, and on their names and values."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Any

import numpy as np

from ganformer_jax.errors import UserError

MAX_INSTRUCTIONS = 500_000  # a published snapshot for 32x32 images takes 46,000
BYTES_PER_INSTRUCTION = 64
MAX_KEY = 1 << 16  # for integers as dictionary keys
MAX_NAME = 300  # characters
MAX_TEXT = 1000  # characters
MAX_INTEGER = 1 << 17  # for arguments of a network
MAX_ITEMS = 32  # in a list among the arguments
MAX_NESTING = 5  # of lists and dicts among the arguments


class PickleError(UserError):
    """A pickle is damaged or contains something that is not allowed; the message is one line."""


class Budget:
    """Number of instructions left for reading a file, nested pickles included.

    Copying costs one instruction for every `BYTES_PER_INSTRUCTION` bytes, and visiting a container
    costs one for every item. `size` is the size of the file in bytes.
    """

    def __init__(self, size: int, instructions: int = MAX_INSTRUCTIONS):
        self.size, self.left = size, instructions + size // BYTES_PER_INSTRUCTION

    def spend(self, instructions: int = 1) -> None:
        """Subtract instructions; raise PickleError if too few are left."""
        self.left -= instructions
        if self.left < 0:
            raise PickleError("reading the file takes more work than its size explains")

    def copy(self, size: int) -> None:
        """Subtract the cost of copying `size` bytes."""
        self.spend(size // BYTES_PER_INSTRUCTION)


def plain_key(key: Any) -> Hashable:
    """Return a key; refuse keys that may be slow to hash: nested tuples and large integers."""
    if key is None or isinstance(key, str) or (isinstance(key, int) and abs(key) < MAX_KEY):
        return key
    raise PickleError(f"a dictionary key or set element of type {type(key).__name__}")


def printable(value: Any) -> str:
    """Return text for a message: at most 80 printable ASCII characters in one line."""
    text = value if isinstance(value, str) else type(value).__name__
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text[:80])


def named_items(values: Any, prefix: str, budget: Budget) -> Iterator[tuple[str, Any]]:
    """Yield the items of a dict whose keys, after a prefix, are short printable names."""
    if not isinstance(values, dict):
        raise PickleError("not a dict of names")
    for name, value in values.items():
        budget.spend()
        if not isinstance(name, str) or len(prefix) + len(name) > MAX_NAME:
            raise PickleError("a name that is too long, or not text")
        if not (name.isascii() and name.isprintable()):
            raise PickleError(f"a name that is not printable: {printable(name)}")
        yield name, value


def unique_arrays(
    arrays: Iterable[tuple[str, np.ndarray]], budget: Budget
) -> dict[str, np.ndarray]:
    """Return arrays by unique name; refuse more elements in total than the file has bytes."""
    unique: dict[str, np.ndarray] = {}
    elements = 0
    for name, array in arrays:
        if name in unique:
            raise PickleError(f"two arrays are called {name}")
        unique[name] = array
        elements += array.size
        if elements > budget.size:
            raise PickleError("its arrays have more elements than the file has bytes")
    return unique


def plain_arguments(
    values: Any, owner: str, budget: Budget, largest: int | None = None
) -> dict[str, Any]:
    """Return a dict of plain values: strings, numbers, None, and lists, tuples and dicts of these.

    Args:
        values: The dict.
        owner: Owner of the arguments, for messages.
        budget: Budget of the file.
        largest: Largest absolute value of integers; None for no limit.
    """
    if not isinstance(values, dict):
        raise PickleError(f"{owner} has no arguments")
    return _plain_value(values, f"the arguments of {owner}", 0, budget, largest)


def _plain_value(value: Any, where: str, depth: int, budget: Budget, largest: int | None) -> Any:
    budget.spend()
    if depth > MAX_NESTING:
        raise PickleError(f"{where} are nested too deep")
    is_short = isinstance(value, str) and len(value) <= MAX_TEXT
    is_small = isinstance(value, int) and (largest is None or abs(value) <= largest)
    if value is None or isinstance(value, bool | float) or is_short or is_small:
        return value
    if isinstance(value, list | tuple) and len(value) <= MAX_ITEMS:
        items = (_plain_value(item, where, depth + 1, budget, largest) for item in value)
        return type(value)(items)
    if isinstance(value, dict):
        return {
            name: _plain_value(item, where, depth + 1, budget, largest)
            for name, item in named_items(value, "", budget)
        }
    raise PickleError(f"{where} hold a {type(value).__name__} that is not plain, or too large")
