"""Contents of the files of CIFAR: pickles of Python 2, binary records, names of classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from ganformer_jax.errors import UserError
from ganformer_jax.pickles.limits import Budget
from ganformer_jax.pickles.numpy_pickles import Ndarray, numpy_constructors
from ganformer_jax.pickles.unpickle import Constructors, unpickle

PIXEL_BYTES = 3 * 32 * 32
_LABELS = ("labels", "fine_labels")
_NAMES = ("label_names", "fine_label_names")


@dataclasses.dataclass(frozen=True)
class Batch:
    """Images of one file, each stored as its red values, then the green and the blue ones."""

    pixels_Mx3072: UInt8[np.ndarray, "m 3072"]
    classes: Int[np.ndarray, " m"]


def read_pickle(contents: bytes, classes: int) -> Batch:
    """Read a pickled batch without executing anything it names; raise UserError if damaged."""
    values = _dict(contents)
    array = values.get("data")
    pixels = array.array if isinstance(array, Ndarray) else None
    numbers = _first(values, _LABELS)
    if pixels is None or pixels.dtype != np.uint8 or pixels.shape[1:] != (PIXEL_BYTES,):
        raise UserError("it holds no array of 32x32 color images")
    if not isinstance(numbers, list) or not all(type(number) is int for number in numbers):
        raise UserError("it holds no list of classes")
    if not all(0 <= number < classes for number in numbers):
        raise UserError(f"it has classes outside 0..{classes - 1}")
    return _batch(pixels, np.array(numbers, np.int64), classes)


def read_binary(contents: bytes, label_bytes: int, classes: int) -> Batch:
    """Read records of `label_bytes` class numbers, of which the last is used, and pixels."""
    record = label_bytes + PIXEL_BYTES
    if len(contents) % record:
        raise UserError(f"it is cut short: {len(contents)} bytes is not a multiple of {record}")
    rows = np.frombuffer(contents, np.uint8).reshape(-1, record)
    return _batch(rows[:, label_bytes:], rows[:, label_bytes - 1].astype(np.int64), classes)


def read_pickled_names(contents: bytes, classes: int) -> tuple[str, ...]:
    """Read the names of the classes from a pickle; raise UserError if their number is wrong."""
    return _checked_names(_first(_dict(contents), _NAMES), classes)


def read_names(contents: bytes, classes: int) -> tuple[str, ...]:
    """Read the names of the classes, one per line; raise UserError if their number is wrong."""
    lines = contents.decode("utf-8", "replace").split("\n")
    return _checked_names([line.strip() for line in lines if line.strip()], classes)


def _batch(pixels: np.ndarray, numbers: np.ndarray, classes: int) -> Batch:
    if not len(pixels):
        raise UserError("it is empty")
    if len(pixels) != len(numbers):
        raise UserError(f"it has {len(numbers)} classes for {len(pixels)} images")
    if numbers.max() >= classes:
        raise UserError(f"it has classes outside 0..{classes - 1}")
    return Batch(pixels, numbers)


def _checked_names(names: Any, classes: int) -> tuple[str, ...]:
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not is_list or len(names) != classes or len(set(names)) != classes:
        raise UserError(f"it does not hold the names of {classes} classes")
    return tuple(names)


def _first(values: Mapping[Any, Any], keys: tuple[str, ...]) -> Any:
    return next((values[key] for key in keys if key in values), None)


def _dict(contents: bytes) -> dict[Any, Any]:
    # Strings are copied once when they are read, and again when they are converted to an array.
    budget = Budget(len(contents), (1 << 20) + len(contents) // 64)
    value, _ = unpickle(memoryview(contents), _constructors(budget), budget)
    if not isinstance(value, dict):
        raise UserError("it is not a pickled dict")
    return value


class _Python2Array(Ndarray):
    """An array whose bytes may be stored as a string, as in pickles of Python 2."""

    def __init__(self, budget: Budget) -> None:
        super().__init__()
        self._budget = budget

    def set_state(self, state: Any) -> None:
        """Take (version, shape, dtype, Fortran order, bytes)."""
        if isinstance(state, tuple) and state and isinstance(state[-1], str):
            self._budget.copy(len(state[-1]))
            state = (*state[:-1], memoryview(state[-1].encode("latin-1")))
        super().set_state(state)


def _constructors(budget: Budget) -> Constructors:
    name = ("numpy.core.multiarray", "_reconstruct")
    return {**numpy_constructors(budget), name: lambda *_: _Python2Array(budget)}
