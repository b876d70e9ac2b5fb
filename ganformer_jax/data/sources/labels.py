"""Classes of a source's entries, and arrays that hold classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ganformer_jax.errors import UserError

MAX_CLASSES = 1 << 16
"""Largest number of classes; larger numbers are not classes but something else."""


@dataclasses.dataclass(frozen=True)
class Labels:
    """Classes of the entries of a source.

    Attributes:
        names: Names of the classes; class i is called names[i].
        classes: Int [entries], the class of every entry, -1 where it has none.
        origin: Where they come from, for the report.
        unused: Number of rows in a table of labels that name no entry.
    """

    names: tuple[str, ...]
    classes: np.ndarray
    origin: str
    unused: int = 0


def check_class_names(names: Sequence[str]) -> None:
    """Check that TFDS, which writes one name a line, would read the names back.

    Raises:
        UserError: If it would not.
    """
    for name in names:
        if not name.strip() or len(name.splitlines()) != 1 or not _is_utf8(name):
            raise UserError(f"{name!r} cannot be the name of a class")
    stripped = sorted(name.strip() for name in names)
    for name, following in zip(stripped, stripped[1:], strict=False):
        if name == following:
            raise UserError(f"two classes have the same name, {name}")


def labels_from(
    values: np.ndarray, count: int, origin: str, names: Sequence[str] | None = None
) -> Labels | None:
    """Read classes from an array [count] or [count, 1] of integers or words, or one-hot rows.

    A row of zeros and the number -1 mean that there is no class.

    Args:
        values: The array.
        count: Number of entries.
        origin: Where the array comes from, for the report.
        names: Names of the classes; used if there are enough, all different. Otherwise class i is
            called str(i).

    Returns:
        None if the array is something else: other shapes, fractions, several classes at once,
        numbers below -1 or of MAX_CLASSES and above.
    """
    values = np.asarray(values)
    if values.dtype.kind in "US" and values.shape in ((count,), (count, 1)):
        return _from_words(values.reshape(count), origin)
    if values.dtype.kind not in "buif" or values.shape[:1] != (count,) or values.ndim > 2:
        return None
    if values.ndim == 2 and values.shape[1] != 1:
        classes, number = _from_one_hot(values), values.shape[1]
    else:
        classes, number = _from_numbers(values.reshape(count)), 0
    if classes is None:
        return None
    number = max(number, int(classes.max(initial=-1)) + 1)
    if not 0 < number <= MAX_CLASSES:
        return None
    if names is None or len(names) < number or len(set(names)) < len(names):
        names = [str(index) for index in range(number)]
    return Labels(tuple(names), classes, origin)


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:  # a file name in another encoding
        return False
    return True


def _from_words(values: np.ndarray, origin: str) -> Labels | None:
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    names, classes = np.unique(values, return_inverse=True)
    if len(names) > MAX_CLASSES:
        return None
    return Labels(tuple(map(str, names)), classes.astype(np.int64), origin)


def _from_one_hot(values: np.ndarray) -> np.ndarray | None:
    if not 0 < values.shape[1] <= MAX_CLASSES or not np.isin(values, (0, 1)).all():
        return None
    ones = values.sum(axis=1)
    if (ones > 1).any():
        return None
    return np.where(ones == 1, values.argmax(axis=1), -1).astype(np.int64)


def _from_numbers(values: np.ndarray) -> np.ndarray | None:
    if not np.isfinite(values).all() or not ((values >= -1) & (values < MAX_CLASSES)).all():
        return None
    classes = values.astype(np.int64)
    return classes if (classes == values).all() else None
