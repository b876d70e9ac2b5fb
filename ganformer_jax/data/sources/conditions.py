"""Conditions of images: vectors of numbers, such as multiple classes or measured values."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ganformer_jax.errors import UserError

MAX_NUMBERS = 1 << 16  # in one condition; more is a mistake
_LARGEST = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True)
class Conditions:
    """Conditions of the entries of a source; names[i] is the name of number i of a condition."""

    names: tuple[str, ...]
    vectors: np.ndarray  # float32 [entries, names], a row of NaN for an entry without a condition
    origin: str  # where they were read from, for the report
    unused: int = 0  # number of rows in a table of labels that name no entry
    tokenizer: str = ""  # contents of tokenizer.json if they are captions

    def at(self, index: int) -> np.ndarray | None:
        """Return the condition of an entry, float32 [names]; None if it has none."""
        vector = self.vectors[index]
        return None if np.isnan(vector).any() else vector

    @property
    def known(self) -> np.ndarray:
        """Return which entries have a condition, bool [entries]."""
        return np.asarray(~np.isnan(self.vectors).any(axis=1))

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Return the smallest and the largest value of each number, by its name."""
        known = self.vectors[self.known]
        pairs = zip(known.min(axis=0).tolist(), known.max(axis=0).tolist(), strict=True)
        return dict(zip(self.names, pairs, strict=True))


def conditions_from(
    values: np.ndarray, count: int, origin: str, names: Sequence[str] | None = None
) -> Conditions | None:
    """Read conditions from an array of numbers [count, numbers].

    Args:
        values: The array.
        count: Number of entries.
        origin: Where the array is from.
        names: Names of the numbers; ignored if they are invalid or too few or too many.

    Returns:
        None if the array has another shape, is not numeric or has values that are not finite.
    """
    if values.dtype.kind not in "buif" or values.ndim != 2 or values.shape[0] != count:
        return None
    if not count or not 1 <= values.shape[1] <= MAX_NUMBERS:
        return None
    if not (np.abs(values.astype(np.float64)) <= _LARGEST).all():
        return None
    try:
        checked = check_condition_names(names, values.shape[1], origin)
    except UserError:
        checked = check_condition_names(None, values.shape[1], origin)
    return Conditions(checked, values.astype(np.float32), origin)


def conditions_of_lists(labels: Sequence[Any], names: Any, where: str) -> Conditions:
    """Read conditions from the labels of a JSON file.

    Args:
        labels: A list of numbers for each entry, all of one length; None for entries without one.
        names: Names of the numbers in the file, which should be a list of strings; None if none.
        where: Name of the file, for messages.

    Raises:
        UserError: If lengths differ, a value is not a finite number, or a name is invalid.
    """
    found = [label for label in labels if label is not None]
    odd = next((label for label in found if not _is_condition(label)), None)
    if odd is not None:
        raise UserError(
            f"{where} has the condition {str(odd)[:50]}: a condition is a list of finite numbers"
        )
    lengths = sorted({len(label) for label in found})
    if len(lengths) > 1:
        raise UserError(
            f"{where} has conditions of {lengths[0]} and of {lengths[1]} numbers: give all images "
            "the same number"
        )
    missing = [float("nan")] * lengths[0]
    vectors = np.array([missing if label is None else label for label in labels], np.float32)
    return Conditions(check_condition_names(names, lengths[0], where), vectors, where)


def _is_condition(label: Any) -> bool:
    if type(label) is not list or not 1 <= len(label) <= MAX_NUMBERS:
        return False
    return all(type(value) in (int, float) and abs(value) <= _LARGEST for value in label)


def check_condition_names(names: Any, count: int, where: str) -> tuple[str, ...]:
    """Return the names of the numbers of a condition, by default "0", "1", ...

    Raises:
        UserError: If there are not `count` names, two are equal, or one cannot be written in an
            option like `sample --condition NAME=1,OTHER=0.5`.
    """
    if names is None:
        return tuple(map(str, range(count)))
    if not isinstance(names, list | tuple) or len(names) != count:
        raise UserError(f"{where}: condition_names should be a list of {count} names")
    for name in names:
        is_text = isinstance(name, str) and name == name.encode("utf-8", "replace").decode()
        if not is_text or not name.strip() or len(name.splitlines()) != 1 or set(name) & set(",="):
            raise UserError(
                f"{where}: {str(name)[:50]!r} cannot be the name of a condition: use text without "
                "commas and equals signs"
            )
    stripped = tuple(name.strip() for name in names)
    twice = [name for name, times in collections.Counter(stripped).items() if times > 1]
    if twice:
        raise UserError(f"{where}: two conditions have the same name, {twice[0]}")
    return stripped
