"""Error of generated images whose true images are known."""

from __future__ import annotations

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import UInt8


def pair_error(
    images_MxHxWxC: UInt8[ArrayLike, "m h w c"], truth_MxHxWxC: UInt8[ArrayLike, "m h w c"]
) -> float:
    """Return the mean absolute difference of images and their true images, in levels of 0..255.

    Raises:
        ValueError: If the shapes differ, or there are no images.
    """
    images, truth = np.asarray(images_MxHxWxC), np.asarray(truth_MxHxWxC)
    if images.shape != truth.shape or not len(images):
        raise ValueError(
            f"images and true images must have the same shape and not be empty, got "
            f"{list(images.shape)} and {list(truth.shape)}"
        )
    return float(np.abs(images.astype(np.int16) - truth).mean())
