"""Disentanglement, completeness and informativeness (DCI) of latents for factors of variation.

C. Eastwood, C. K. I. Williams, "A Framework for the Quantitative Evaluation of Disentangled
Representations", ICLR 2018, section 2. GANformer reports it in section 4 (arXiv 2103.01209).
"""

import warnings
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from ganformer_jax.metrics.features import check_features

MIN_ROWS = 20
HELD_OUT = 0.25  # fraction of the rows that informativeness is measured on
PENALTIES = 20  # number of lasso penalties tried for every factor
_FOLDS = 3


class DCI(NamedTuple):
    """The three scores; 1 is best."""

    disentanglement: float  # degree to which each latent is important for only one factor
    completeness: float  # degree to which each factor is predicted by only one latent
    informativeness: float  # share of variance that all latents explain (R2), mean over factors


def dci(
    codes_MxD: Float[ArrayLike, "m d"], factors_MxA: Float[ArrayLike, "m a"], seed: int = 0
) -> DCI:
    """Predict factors from codes by sparse linear regression, and score the regression weights.

    Codes and factors are standardized. Each factor is predicted by a lasso whose penalty is chosen
    by cross-validation. Constant factors are left out.

    Args:
        codes_MxD: Latents, one row per image.
        factors_MxA: Factors of variation, one row per image.
        seed: Seed of the choice of held-out rows.

    Raises:
        ValueError: If there are fewer than 20 rows, the sets differ in length, a value is not
            finite, or fewer than two factors vary.
    """
    codes, factors = check_features(codes_MxD, MIN_ROWS), check_features(factors_MxA, MIN_ROWS)
    if len(codes) != len(factors):
        raise ValueError(f"{len(codes)} rows of codes, but {len(factors)} of factors")
    if codes.shape[1] < 2:
        raise ValueError("disentanglement needs codes of two or more numbers, got one")
    factors = factors[:, np.ptp(factors, 0) > 0]  # rounding may give constants a deviation above 0
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


def entropies(importance_DxA: Float[np.ndarray, "d a"]) -> tuple[float, float]:
    """Return disentanglement and completeness of the importance of each code for each factor.

    Disentanglement is the mean over codes, weighted by their total importance, as in the paper.
    Completeness is the mean over factors, where a factor without any important code counts as 0.

    Args:
        importance_DxA: Nonnegative importance, for at least two codes and two factors.
    """
    total = importance_DxA.sum()
    if total <= 0:
        return 0.0, 0.0
    by_code = 1 - _entropy(importance_DxA)
    by_factor = np.where(importance_DxA.sum(0) > 0, 1 - _entropy(importance_DxA.T), 0.0)
    return float((importance_DxA.sum(1) / total) @ by_code), float(by_factor.mean())


def _entropy(importance: np.ndarray) -> np.ndarray:
    """Return the entropy of each row, normalized to a distribution, over its maximum.

    Rows of zeros count as uniform.
    """
    sums = importance.sum(1, keepdims=True)
    shares = np.divide(importance, sums, out=np.full_like(importance, 1.0), where=sums > 0)
    shares = shares / shares.sum(1, keepdims=True)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return -(shares * logs).sum(1) / np.log(importance.shape[1])


def _standardized(values: np.ndarray) -> np.ndarray:
    deviation = values.std(0)
    return (values - values.mean(0)) / np.where(deviation > 0, deviation, 1.0)


def _regress(codes: np.ndarray, factor: np.ndarray, held_out: int) -> tuple[np.ndarray, float]:
    """Return the weights of a factor's lasso, and the held-out variance that it explains (R2)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LassoCV

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # raised at the smallest penalties
        lasso = LassoCV(alphas=PENALTIES, cv=_FOLDS).fit(codes[held_out:], factor[held_out:])
    residual = factor[:held_out] - lasso.predict(codes[:held_out])
    variance = np.square(factor[:held_out] - factor[held_out:].mean()).mean()
    explained = 1 - np.square(residual).mean() / variance if variance > 0 else 0.0
    return lasso.coef_, float(explained)
