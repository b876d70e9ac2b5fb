"""Inception score: images that are sure of their class, of many classes.

T. Salimans, I. Goodfellow, W. Zaremba, V. Cheung, A. Radford, X. Chen, "Improved Techniques for
Training GANs", NeurIPS 2016 (arXiv 1606.03498), section 4.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import scipy.special

from ganformer_jax.metrics.features import check_features

if TYPE_CHECKING:
    from jaxtyping import Float


def inception_score(
    logits_NxC: Float[np.ndarray, "n classes"], splits: int = 10
) -> tuple[float, float]:
    """Exponential of the mean divergence of each image's classes from all images' classes.

    Args:
        logits_NxC: Of a classifier, a row an image. Published numbers leave out the bias of its
            last layer.
        splits: Consecutive parts that are scored one by one.

    Returns:
        Mean and standard deviation over the parts; between 1 and the number of classes.

    Raises:
        ValueError: If there are fewer images than parts, or a logit is not finite.
    """
    if splits < 1:
        raise ValueError(f"splits must be positive, got {splits}")
    logits = check_features(logits_NxC, least=splits)
    bounds = [i * len(logits) // splits for i in range(splits + 1)]
    scores = [_score(logits[start:end]) for start, end in itertools.pairwise(bounds)]
    return float(np.mean(scores)), float(np.std(scores))


def _score(logits_NxC: np.ndarray) -> float:
    log_classes = scipy.special.log_softmax(logits_NxC, axis=1)
    log_mean = scipy.special.logsumexp(log_classes, axis=0) - np.log(len(logits_NxC))
    divergence_N = (np.exp(log_classes) * (log_classes - log_mean)).sum(1)
    return float(np.exp(divergence_N.mean()))
