"""Checks of feature arrays, shared by the metrics that compare them."""

from collections.abc import Iterator

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

ROWS = 512
"""Number of rows of a distance matrix that are computed at once."""
_ROUNDING = 1e-10  # share of their squared lengths below which two rows are equal


def check_features(features_MxD: ArrayLike, least: int = 1) -> Float[np.ndarray, "m d"]:
    """Return features as float64; raise ValueError unless they are finite [M, D], M >= `least`."""
    features = np.asarray(features_MxD, np.float64)
    if features.ndim != 2 or features.shape[1] == 0:
        raise ValueError(f"features must be [images, dimensions], got {list(features.shape)}")
    if len(features) < least:
        raise ValueError(f"too few images: {len(features)}, at least {least} are needed")
    if not np.isfinite(features).all():
        raise ValueError("features are not finite: look for NaN in images or weights")
    return features


def check_pair(real: ArrayLike, fake: ArrayLike, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Check two sets of features like `check_features`; they must also have the same width."""
    real, fake = check_features(real, least), check_features(fake, least)
    if real.shape[1] != fake.shape[1]:
        raise ValueError(f"features differ in width: {real.shape[1]} real, {fake.shape[1]} fake")
    return real, fake


def squared_distances(
    x_MxD: Float[np.ndarray, "m d"], y_MxD: Float[np.ndarray, "m2 d"]
) -> Float[np.ndarray, "m m2"]:
    """Return squared Euclidean distances, exactly 0 for rows that are equal but for rounding."""
    squares = np.square(x_MxD).sum(1)[:, None] + np.square(y_MxD).sum(1)[None]
    distances = squares - 2 * x_MxD @ y_MxD.T
    return np.where(distances > _ROUNDING * squares, distances, 0.0)


def distance_chunks(
    x_MxD: Float[np.ndarray, "m d"], y_MxD: Float[np.ndarray, "m2 d"]
) -> Iterator[Float[np.ndarray, "m3 m2"]]:
    """Yield `squared_distances` of `ROWS` consecutive rows of x to all rows of y."""
    for start in range(0, len(x_MxD), ROWS):
        yield squared_distances(x_MxD[start : start + ROWS], y_MxD)
