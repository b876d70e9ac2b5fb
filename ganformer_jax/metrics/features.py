"""What every distance between sets of features expects of them."""

from __future__ import annotations

import numpy as np


def check_features(features: np.ndarray, least: int = 1) -> np.ndarray:
    """Gives features as float64 [n, dim].

    Raises:
        ValueError: If they have another rank, fewer than `least` rows, or a value is not finite.
    """
    found = np.asarray(features, np.float64)
    if found.ndim != 2 or found.shape[1] == 0:
        raise ValueError(f"features must be [images, dimensions], got {list(found.shape)}")
    if len(found) < least:
        raise ValueError(f"too few images: {len(found)}, at least {least} are needed")
    if not np.isfinite(found).all():
        raise ValueError("features are not finite: look for NaN in images or weights")
    return found


def check_pair(real: np.ndarray, fake: np.ndarray, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Gives two sets of features of one width as float64.

    Raises:
        ValueError: As `check_features` does, or if the widths differ.
    """
    one, other = check_features(real, least), check_features(fake, least)
    if one.shape[1] != other.shape[1]:
        raise ValueError(f"features differ in width: {one.shape[1]} real, {other.shape[1]} fake")
    return one, other
