"""Checks of feature arrays, shared by the metrics that compare them."""

import numpy as np
from jaxtyping import Float


def check_features(features_MxD: np.ndarray, least: int = 1) -> Float[np.ndarray, "m d"]:
    """Return features as float64; raise ValueError unless they are finite [M, D], M >= `least`."""
    features = np.asarray(features_MxD, np.float64)
    if features.ndim != 2 or features.shape[1] == 0:
        raise ValueError(f"features must be [images, dimensions], got {list(features.shape)}")
    if len(features) < least:
        raise ValueError(f"too few images: {len(features)}, at least {least} are needed")
    if not np.isfinite(features).all():
        raise ValueError("features are not finite: look for NaN in images or weights")
    return features


def check_pair(real: np.ndarray, fake: np.ndarray, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Check two sets of features like `check_features`; they must also have the same width."""
    real, fake = check_features(real, least), check_features(fake, least)
    if real.shape[1] != fake.shape[1]:
        raise ValueError(f"features differ in width: {real.shape[1]} real, {fake.shape[1]} fake")
    return real, fake
