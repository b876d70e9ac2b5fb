"""Seeds of images, and how many are drawn at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import UInt32


def seed_array(seeds: Iterable[int]) -> UInt32[np.ndarray, " b"]:
    """Return seeds as an array.

    Raises:
        ValueError: If they are not a list of integers from 0 to 2^32 - 1.
    """
    given = list(seeds)
    numbers = np.asarray(given if given else np.zeros(0, np.uint32))
    whole = numbers.ndim == 1 and numbers.dtype.kind in "iu"
    if not whole or ((numbers < 0) | (numbers >= 2**32)).any():
        raise ValueError("seeds must be integers from 0 to 2^32 - 1, in a list")
    return numbers.astype(np.uint32)


def check_batch_size(batch_size: int) -> None:
    """Raise ValueError for a batch of no images."""
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it should be 1 or more")
