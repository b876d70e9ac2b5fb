"""Disentanglement, completeness and informativeness (DCI) of latents about factors.

C. Eastwood, C. K. I. Williams, "A Framework for the Quantitative Evaluation of Disentangled
Representations", ICLR 2018, section 2. GANformer reports it in section 4 (arXiv 2103.01209).
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ganformer_jax.metrics.features import check_features

if TYPE_CHECKING:
    from jaxtyping import Float

LEAST = 20  # rows: fewer say nothing
HELD_OUT = 0.25  # share of the rows that informativeness is measured on
PENALTIES = 20  # tried for every factor
_FOLDS = 3


class DCI(NamedTuple):
    """The three numbers, each 1 at best."""

    disentanglement: float
    """How far a latent matters to one factor only."""
    completeness: float
    """How far one latent suffices for a factor."""
    informativeness: float
    """How well all latents predict a factor: the mean share of variance explained, at least 0."""


def dci(
    codes_NxD: Float[np.ndarray, "n codes"],
    factors_NxF: Float[np.ndarray, "n factors"],
    seed: int = 0,
) -> DCI:
    """Predicts factors from codes by sparse linear regression, and looks at the weights.

    Codes and factors are standardized; each factor has a lasso whose penalty is chosen by
    cross-validation. Factors that do not vary are left out.

    Args:
        codes_NxD: Latents, a row an image.
        factors_NxF: Attributes of the images.
        seed: Which rows are held out.

    Raises:
        ValueError: If there are fewer than 20 rows, the sets differ in length, a value is not
            finite, or fewer than two factors vary.
    """
    codes, factors = check_features(codes_NxD, LEAST), check_features(factors_NxF, LEAST)
    if len(codes) != len(factors):
        raise ValueError(f"{len(codes)} rows of codes, but {len(factors)} of factors")
    factors = factors[:, factors.std(0) > 0]
    if factors.shape[1] < 2:
        raise ValueError("fewer than two factors vary")
    order = np.random.default_rng(seed).permutation(len(codes))
    held_out = max(1, int(HELD_OUT * len(codes)))
    codes, factors = _standardized(codes), _standardized(factors)
    weights, scores = [], []
    for factor in factors.T:
        weight, score = _regress(codes[order], factor[order], held_out)
        weights.append(np.abs(weight))
        scores.append(max(score, 0.0))
    disentanglement, completeness = entropies(np.stack(weights, 1))
    return DCI(disentanglement, completeness, float(np.mean(scores)))


def entropies(importance_DxF: Float[np.ndarray, "codes factors"]) -> tuple[float, float]:
    """Disentanglement and completeness of how much each code matters to each factor.

    A code's share of disentanglement is its share of all importance, as in the paper; factors
    share completeness evenly, and one that no code matters to counts as 0.

    Args:
        importance_DxF: Not negative, of two codes and factors at least.
    """
    total = importance_DxF.sum()
    if total <= 0:
        return 0.0, 0.0
    by_code = 1 - _entropy(importance_DxF)
    by_factor = np.where(importance_DxF.sum(0) > 0, 1 - _entropy(importance_DxF.T), 0.0)
    return float((importance_DxF.sum(1) / total) @ by_code), float(by_factor.mean())


def _entropy(importance: np.ndarray) -> np.ndarray:
    """Of each row as a distribution, in units of its largest value; 1 for rows of zeros."""
    sums = importance.sum(1, keepdims=True)
    shares = np.divide(importance, sums, out=np.full_like(importance, 1.0), where=sums > 0)
    shares = shares / shares.sum(1, keepdims=True)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return -(shares * logs).sum(1) / np.log(importance.shape[1])


def _standardized(values: np.ndarray) -> np.ndarray:
    deviation = values.std(0)
    return (values - values.mean(0)) / np.where(deviation > 0, deviation, 1.0)


def _regress(codes: np.ndarray, factor: np.ndarray, held_out: int) -> tuple[np.ndarray, float]:
    """Weights of a factor's lasso, and the share of held-out variance that it explains."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LassoCV

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of the least penalties tried
        lasso = LassoCV(alphas=PENALTIES, cv=_FOLDS).fit(codes[held_out:], factor[held_out:])
    residual = factor[:held_out] - lasso.predict(codes[:held_out])
    variance = np.square(factor[:held_out] - factor[held_out:].mean()).mean()
    explained = 1 - np.square(residual).mean() / variance if variance > 0 else 0.0
    return lasso.coef_, float(explained)
