"""Error of generated images whose true images are known."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8


def pair_error(
    images_MxHxWxC: UInt8[np.ndarray, "m h w c"], truth_MxHxWxC: UInt8[np.ndarray, "m h w c"]
) -> float:
    """Return the mean absolute difference of images and their true images, in levels of 0..255.

    Raises:
        ValueError: If the shapes differ, or there are no images.
    """
    if images_MxHxWxC.shape != truth_MxHxWxC.shape or not len(images_MxHxWxC):
        raise ValueError(
            f"images and true images must have the same shape and not be empty, got "
            f"{list(images_MxHxWxC.shape)} and {list(truth_MxHxWxC.shape)}"
        )
    difference = images_MxHxWxC.astype(np.int16) - truth_MxHxWxC
    return float(np.abs(difference).mean())
