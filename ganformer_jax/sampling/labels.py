"""Labels of images to generate, as users give them and as the networks take them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

ImageLabels = Iterable[int] | Iterable[Sequence[float]]
"""Class numbers [M]; or conditions, float32 [M, label_size], of which an array is one too."""


def check_labels(
    label_size: int, labels: ImageLabels | None, count: int, vocabulary: int = 0
) -> np.ndarray:
    """Return the labels of `count` images, checked: classes, int32 [M], or conditions [M, Y].

    Args:
        label_size: Number of classes, or numbers of a condition.
        labels: The labels; None for a generator that takes none.
        count: Number of images.
        vocabulary: Number of different tokens, if labels have to be captions.

    Raises:
        ValueError: If there are no images, or labels are missing, superfluous, of another shape or
            out of range.
    """
    if count == 0:
        raise ValueError("no seeds")
    if (labels is None) != (label_size == 0):
        needs = f"needs labels, as its label_size is {label_size}"
        has = needs if label_size else "takes no labels"
        raise ValueError(f"the generator {has}")
    if labels is None:
        return np.zeros((count, 0), np.float32)
    given = np.asarray(list(labels))
    if vocabulary:
        _check_tokens(given, (count, label_size), vocabulary)
    if given.ndim == 2:
        with np.errstate(over="ignore"):  # numbers too large for float32 become infinite
            conditions = given.astype(np.float32)
        if conditions.shape != (count, label_size) or not np.isfinite(conditions).all():
            raise ValueError(f"conditions must be {count} rows of {label_size} finite numbers")
        return conditions
    whole = given.shape == (count,) and given.dtype.kind in "iu"
    if not whole or given.min() < 0 or given.max() >= label_size:
        raise ValueError(f"labels must be {count} whole numbers from 0 to {label_size - 1}")
    return given.astype(np.int32)


def _check_tokens(given: np.ndarray, shape: tuple[int, int], vocabulary: int) -> None:
    """Raise ValueError for what are no tokens of captions; networks would read other words."""
    numbers = given.shape == shape and given.dtype.kind in "iuf"
    whole = numbers and ((given >= 0) & (given < vocabulary) & (given == np.rint(given))).all()
    if not whole:
        raise ValueError(
            f"captions must be {shape[0]} rows of {shape[1]} tokens, whole numbers from 0 to "
            f"{vocabulary - 1}"
        )


def label_vectors(label_size: int, checked: np.ndarray) -> Float[np.ndarray, "b y"]:
    """Return what the networks take for checked labels: classes one-hot."""
    if checked.ndim == 2:
        return checked
    one_hot = np.zeros((len(checked), label_size), np.float32)
    one_hot[np.arange(len(checked)), checked] = 1
    return one_hot
