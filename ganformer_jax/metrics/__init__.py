"""Metrics of image quality: features of images, and one file per metric.

The metrics need no other part of the package, and with `random_weights` no file of weights.
"""

from ganformer_jax.metrics.frechet import frechet_distance
from ganformer_jax.metrics.inception_features import (
    FeatureExtractor,
    inception_features,
    random_weights,
)
from ganformer_jax.metrics.inception_score import inception_score
from ganformer_jax.metrics.kernel import kernel_distance
from ganformer_jax.metrics.prdc import prdc
from ganformer_jax.metrics.sliced_wasserstein import sliced_wasserstein

__all__ = [
    "FeatureExtractor",
    "frechet_distance",
    "inception_features",
    "inception_score",
    "kernel_distance",
    "prdc",
    "random_weights",
    "sliced_wasserstein",
]
