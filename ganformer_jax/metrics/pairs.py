"""Distances of images from the ones that they should be."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8


def pair_error(
    images_MxHxWxC: UInt8[np.ndarray, "m h w c"], truth_MxHxWxC: UInt8[np.ndarray, "m h w c"]
) -> float:
    """Return the mean absolute difference of images and their truth, in levels of 0..255.

    Raises:
        ValueError: If their shapes differ, or there are none.
    """
    if images_MxHxWxC.shape != truth_MxHxWxC.shape or not len(images_MxHxWxC):
        raise ValueError(
            f"need as many images as truths, of one shape, not {list(images_MxHxWxC.shape)} and "
            f"{list(truth_MxHxWxC.shape)}"
        )
    difference = images_MxHxWxC.astype(np.int16) - truth_MxHxWxC
    return float(np.abs(difference).mean())
