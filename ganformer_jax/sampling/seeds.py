"""Seeds of images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import UInt32


def seed_array(seeds: Iterable[int]) -> UInt32[np.ndarray, " b"]:
    """Return seeds as an array.

    Raises:
        ValueError: If one is not an integer from 0 to 2^32 - 1.
    """
    given = list(seeds)
    numbers = np.asarray(given if given else np.zeros(0, np.uint32))
    if numbers.dtype.kind not in "iu" or ((numbers < 0) | (numbers >= 2**32)).any():
        raise ValueError("seeds must be integers from 0 to 2^32 - 1")
    return numbers.astype(np.uint32)
