"""Linear models of properties of images in w, and the smallest changes of w that set them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ganformer_jax.metrics.dci import HELD_OUT, MIN_ROWS
from ganformer_jax.metrics.features import check_features

if TYPE_CHECKING:
    from jaxtyping import Float

PENALTIES = np.logspace(-3, 5, 17)
"""Penalties of ridge regression that are tried for each property."""


class LinearFit(NamedTuple):
    """Properties as linear functions of w.

    Attributes:
        weights_AxD: Change of each property per change of w.
        covariance_DxD: Covariance of w.
        r2_A: Share of each property's variance that the model explains on held-out rows; near 0 or
            below, it predicts nothing.
        deviation_A: Standard deviation of each property.
    """

    weights_AxD: Float[np.ndarray, "a d"]
    covariance_DxD: Float[np.ndarray, "d d"]
    r2_A: Float[np.ndarray, " a"]
    deviation_A: Float[np.ndarray, " a"]


def fit_linear(
    codes_MxD: Float[np.ndarray, "m d"], properties_MxA: Float[np.ndarray, "m a"], seed: int = 0
) -> LinearFit:
    """Fit properties by ridge regression on w, in units of the standard deviation of each number.

    The penalty of each property is chosen by leave-one-out cross-validation on three quarters of
    the rows; R2 is of the other quarter.

    Args:
        codes_MxD: Latents, one row per image.
        properties_MxA: Properties of the images, none of which is constant.
        seed: Seed of the choice of held-out rows.

    Raises:
        ValueError: If there are fewer than 20 rows, the sets differ in length, or a value is not
            finite.
    """
    from sklearn.linear_model import RidgeCV

    codes = check_features(codes_MxD, MIN_ROWS)
    properties = check_features(properties_MxA, MIN_ROWS)
    if len(codes) != len(properties):
        raise ValueError(f"{len(codes)} rows of codes, but {len(properties)} of properties")
    order = np.random.default_rng(seed).permutation(len(codes))
    count = max(1, int(HELD_OUT * len(codes)))
    held, kept = order[:count], order[count:]
    deviation_D = codes[kept].std(0)
    deviation_D = np.where(deviation_D > 0, deviation_D, 1.0)
    mean_D, mean_A = codes[kept].mean(0), properties[kept].mean(0)
    deviation_A = properties.std(0)
    scale_A = np.where(deviation_A > 0, deviation_A, 1.0)
    ridge = RidgeCV(alphas=PENALTIES, fit_intercept=False, alpha_per_target=True)
    x, y = (codes - mean_D) / deviation_D, (properties - mean_A) / scale_A
    ridge.fit(x[kept], y[kept])
    weights = np.asarray(ridge.coef_).reshape(y.shape[1], -1)
    residual = np.square(y[held] - x[held] @ weights.T).mean(0)
    variance = np.maximum(np.square(y[held]).mean(0), np.finfo(float).tiny)
    covariance = np.atleast_2d(np.cov(codes[kept], rowvar=False))
    weights_AxD = weights * scale_A[:, None] / deviation_D
    return LinearFit(weights_AxD, covariance, 1 - residual / variance, deviation_A)


def smallest_changes(
    weights_AxD: Float[np.ndarray, "a d"], covariance_DxD: Float[np.ndarray, "d d"]
) -> tuple[Float[np.ndarray, "a d"], Float[np.ndarray, "a a2"]]:
    """Return, for each property, the smallest change of w that adds 1 to it and to no other.

    Sizes are Mahalanobis lengths, in the metric of the covariance of w. The changes are the columns
    of covariance weights^T (weights covariance weights^T)^-1. A change of several properties is the
    sum of theirs. Properties that depend on each other linearly cannot be changed alone; for them
    the closest change in the sense of least squares is returned.

    Args:
        weights_AxD: Change of each property per change of w.
        covariance_DxD: Covariance of w.

    Returns:
        The changes, and their inner products in that metric, `products`: of targets t, the squared
        length of the change is t^T products t.
    """
    spread_DxA = covariance_DxD @ weights_AxD.T
    gram_AxA = weights_AxD @ spread_DxA
    size_A = np.sqrt(np.maximum(np.diag(gram_AxA), 0))
    size_A = np.where(size_A > 0, size_A, 1.0)
    correlation = gram_AxA / (size_A[:, None] * size_A)
    products_AxA = np.linalg.pinv(correlation, rcond=1e-9, hermitian=True)
    products_AxA = products_AxA / (size_A[:, None] * size_A)
    return (spread_DxA @ products_AxA).T, products_AxA
