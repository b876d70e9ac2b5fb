"""Labels of images to generate, as users give them and as the networks take them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

ImageLabels = Iterable[int] | Iterable[Sequence[float]]
"""Class numbers [M]; or conditions, float32 [M, label_size], of which an array is one too."""


def check_labels(label_size: int, labels: ImageLabels | None, count: int) -> np.ndarray:
    """Return the labels of `count` images, checked: classes, int32 [M], or conditions [M, Y].

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
    if given.ndim == 2:
        conditions = given.astype(np.float32)
        if conditions.shape != (count, label_size) or not np.isfinite(conditions).all():
            raise ValueError(f"conditions must be {count} rows of {label_size} finite numbers")
        return conditions
    whole = given.shape == (count,) and given.dtype.kind in "iu"
    if not whole or given.min() < 0 or given.max() >= label_size:
        raise ValueError(f"labels must be {count} whole numbers from 0 to {label_size - 1}")
    return given.astype(np.int32)


def label_vectors(label_size: int, checked: np.ndarray) -> Float[np.ndarray, "b y"]:
    """Return what the networks take for checked labels: classes one-hot."""
    if checked.ndim == 2:
        return checked
    one_hot = np.zeros((len(checked), label_size), np.float32)
    one_hot[np.arange(len(checked)), checked] = 1
    return one_hot
