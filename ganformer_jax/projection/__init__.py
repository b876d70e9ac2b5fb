"""Latents of given images, found by optimization.

Needs jax, flax, optax and their dependencies; the caller chooses the distance.
"""

from ganformer_jax.losses import laplacian_distance
from ganformer_jax.projection.project import Projection, ProjectionOptions, project
from ganformer_jax.projection.start import LatentStatistics, latent_statistics

__all__ = [
    "LatentStatistics",
    "Projection",
    "ProjectionOptions",
    "laplacian_distance",
    "latent_statistics",
    "project",
]
