"""What several kinds of sources need: optional packages, classes from arrays, short reasons."""

from __future__ import annotations

import collections
import importlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ganformer_jax.data.sources.source import Labels, Source
from ganformer_jax.errors import UserError

MAX_CLASSES = 1 << 16
"""More classes than this are no classes but some other number."""


def import_format(module: str, wanted_for: str) -> Any:
    """Imports a package that only some formats need.

    Raises:
        UserError: If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f'{wanted_for} needs {module}, which is missing: pip install "ganformer-jax[formats]"'
        ) from error


def brief(error: BaseException) -> str:
    """An exception's message on one line of at most 160 characters."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 160 else words[:157] + "..."


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names for a message, the first few of them."""
    left = len(names) - most
    return ", ".join(names[:most]) + (f" and {left} more" if left > 0 else "")


def nothing_in(source: Source, reasons: Iterable[str] = ()) -> UserError:
    """What to say of a source without one picture.

    Args:
        source: Which has none.
        reasons: Why those that might have been pictures are not.
    """
    skipped = collections.Counter(reason for _, reason in source.skipped)
    found = [*sorted(set(reasons)), *(f"{n} of: {reason}" for reason, n in skipped.most_common())]
    return UserError(
        f"no picture in {source.description} can be read: {'; '.join(found[:3]) or 'it is empty'}"
    )


def numbered(count: int) -> tuple[str, ...]:
    """Names 0 to count - 1, padded with zeros so that they sort."""
    width = len(str(max(count - 1, 0)))
    return tuple(f"{index:0{width}d}" for index in range(count))


def labels_from(
    values: np.ndarray, count: int, origin: str, names: Sequence[str] | None = None
) -> Labels | None:
    """Classes out of an array [count] or [count, 1] of whole numbers or words, or one-hot rows.

    A row of zeros and the number -1 mean that there is no class.

    Args:
        values: The array.
        count: Of entries.
        origin: For the report.
        names: Of the classes; used if there are enough, all different. Otherwise class i is
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
