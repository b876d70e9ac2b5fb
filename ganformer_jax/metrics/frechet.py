"""Fréchet distance between two sets of features, with a Gaussian fitted to each.

On features of Inception it is the Fréchet Inception distance (FID): M. Heusel, H. Ramsauer, T.
Unterthiner, B. Nessler, S. Hochreiter, "GANs Trained by a Two Time-Scale Update Rule Converge to a
Local Nash Equilibrium", NeurIPS 2017 (arXiv 1706.08500), equation 6.
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg
from jax.typing import ArrayLike
from jaxtyping import Float

from ganformer_jax.metrics.features import check_features, check_pair


class Gaussian(NamedTuple):
    """Mean and covariance of a set of features."""

    mean: Float[np.ndarray, " d"]
    covariance: Float[np.ndarray, "d d"]


def fit_gaussian(features_MxD: Float[ArrayLike, "m d"]) -> Gaussian:
    """Estimate the mean and the unbiased covariance of two or more rows, in float64."""
    features = check_features(features_MxD, least=2)
    return Gaussian(features.mean(0), np.atleast_2d(np.cov(features, rowvar=False)))


def frechet_distance_of_gaussians(one: Gaussian, other: Gaussian) -> float:
    """Return the squared Fréchet distance |m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^(1/2)).

    The trace of (C1 C2)^(1/2) equals the sum of the singular values of R1 R2, where R1 and R2 are
    the symmetric square roots of C1 and C2. Unlike the square root of the product, these need no
    correction for rank-deficient covariances.
    """
    roots = [_root(gaussian.covariance) for gaussian in (one, other)]
    cross = np.asarray(scipy.linalg.svdvals(roots[0] @ roots[1])).sum()
    between = np.square(one.mean - other.mean).sum()
    spread = np.trace(one.covariance) + np.trace(other.covariance) - 2 * cross
    return float(max(between + spread, 0.0))


def frechet_distance(
    real_MxD: Float[ArrayLike, "m d"],
    fake_MxD: Float[ArrayLike, "m d"],
    *,
    allow_few: bool = False,
) -> float:
    """Return the Fréchet distance between Gaussians fitted to two sets of features; 0 is best.

    The estimate is biased upward, more so for fewer rows: compare values only at equal counts.

    Args:
        real_MxD: Features of real images, one row each.
        fake_MxD: Features of generated images, of the same width.
        allow_few: Accept sets with at most as many rows as dimensions, whose covariance is
            rank-deficient; the result is then mostly bias.

    Raises:
        ValueError: If the sets differ in width, have too few rows, or are not finite.
    """
    real, fake = check_pair(real_MxD, fake_MxD, least=2)
    rows, width = min(len(real), len(fake)), real.shape[1]
    if rows <= width and not allow_few:
        raise ValueError(
            f"too few images: the covariance of {width} features is rank-deficient with {rows} "
            f"images; use {width + 1} or more, or allow_few=True if bias does not matter"
        )
    return frechet_distance_of_gaussians(fit_gaussian(real), fit_gaussian(fake))


def _root(covariance_DxD: np.ndarray) -> np.ndarray:
    values, vectors = scipy.linalg.eigh(covariance_DxD)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
