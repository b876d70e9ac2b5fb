"""Inception score: high if each image is clearly of one class and there are many classes.

T. Salimans, I. Goodfellow, W. Zaremba, V. Cheung, A. Radford, X. Chen, "Improved Techniques for
Training GANs", NeurIPS 2016 (arXiv 1606.03498), section 4.
"""

import itertools

import numpy as np
import scipy.special
from jax.typing import ArrayLike
from jaxtyping import Float

from ganformer_jax.metrics.features import check_features


def inception_score(logits_MxY: Float[ArrayLike, "m y"], splits: int = 10) -> tuple[float, float]:
    """Return exp of the mean KL divergence of each image's class distribution from their mean.

    Args:
        logits_MxY: Logits of a classifier, one row per image. Published scores use logits without
            the bias of the last layer.
        splits: Number of consecutive subsets that are scored separately.

    Returns:
        Mean and standard deviation over the subsets; scores are between 1 and Y.

    Raises:
        ValueError: If there are fewer images than subsets, or a logit is not finite.
    """
    if splits < 1:
        raise ValueError(f"splits must be positive, got {splits}")
    logits = check_features(logits_MxY, least=splits)
    bounds = [i * len(logits) // splits for i in range(splits + 1)]
    scores = [_score(logits[start:end]) for start, end in itertools.pairwise(bounds)]
    return float(np.mean(scores)), float(np.std(scores))


def _score(logits_MxY: np.ndarray) -> float:
    log_p_MxY = scipy.special.log_softmax(logits_MxY, axis=1)
    log_mean_Y = scipy.special.logsumexp(log_p_MxY, axis=0) - np.log(len(logits_MxY))
    divergence_M = (np.exp(log_p_MxY) * (log_p_MxY - log_mean_Y)).sum(1)
    return float(np.exp(divergence_M.mean()))
