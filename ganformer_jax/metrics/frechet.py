"""Fréchet distance between two sets of features, each taken for a Gaussian.

On features of Inception it is the Fréchet Inception distance: M. Heusel, H. Ramsauer, T.
Unterthiner, B. Nessler, S. Hochreiter, "GANs Trained by a Two Time-Scale Update Rule Converge to a
Local Nash Equilibrium", NeurIPS 2017 (arXiv 1706.08500), equation 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.linalg

from ganformer_jax.metrics.features import check_features, check_pair

if TYPE_CHECKING:
    from jaxtyping import Float


class Gaussian(NamedTuple):
    """Mean and covariance of a set of features."""

    mean: Float[np.ndarray, " dim"]
    covariance: Float[np.ndarray, "dim dim"]


def fit_gaussian(features_NxD: Float[np.ndarray, "n dim"]) -> Gaussian:
    """Estimates mean and unbiased covariance in float64.

    Raises:
        ValueError: If there are fewer than two rows, or a value is not finite.
    """
    features = check_features(features_NxD, least=2)
    return Gaussian(features.mean(0), np.atleast_2d(np.cov(features, rowvar=False)))


def frechet_distance_of_gaussians(one: Gaussian, other: Gaussian) -> float:
    """Squared Fréchet distance of two Gaussians: 0 if they are equal.

    The trace of the square root of C1 C2 is the sum of the singular values of R1 R2, where R is
    the symmetric root of C. Unlike a root of the product it needs no correction where covariances
    lack rank.
    """
    roots = [_root(gaussian.covariance) for gaussian in (one, other)]
    cross = np.asarray(scipy.linalg.svdvals(roots[0] @ roots[1])).sum()
    between = np.square(one.mean - other.mean).sum()
    spread = np.trace(one.covariance) + np.trace(other.covariance) - 2 * cross
    return float(max(between + spread, 0.0))


def frechet_distance(
    real_NxD: Float[np.ndarray, "n dim"],
    fake_MxD: Float[np.ndarray, "m dim"],
    *,
    allow_few: bool = False,
) -> float:
    """Fréchet distance between the Gaussians of two sets; 0 is best.

    The estimate is biased upwards, the more so the fewer the rows: compare it at equal counts.

    Args:
        real_NxD: Features of real images, a row each.
        fake_MxD: Features of generated ones, of the same width.
        allow_few: Accept sets of no more rows than dimensions, whose covariance lacks rank. What
            comes out is mostly bias.

    Raises:
        ValueError: If the sets differ in width, have too few rows, or are not finite.
    """
    real, fake = check_pair(real_NxD, fake_MxD, least=2)
    rows, dim = min(len(real), len(fake)), real.shape[1]
    if rows <= dim and not allow_few:
        raise ValueError(
            f"too few images: a covariance of {dim} features lacks rank with {rows} of them; take "
            f"{dim + 1} or more, or allow_few=True where the bias does not matter"
        )
    return frechet_distance_of_gaussians(fit_gaussian(real), fit_gaussian(fake))


def _root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = scipy.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
