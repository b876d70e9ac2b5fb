"""Precision, recall, density and coverage: quality and variety, separately, by nearest neighbors.

Precision and recall: T. Kynkaanniemi, T. Karras, S. Laine, J. Lehtinen, T. Aila, "Improved
Precision and Recall Metric for Assessing Generative Models", NeurIPS 2019 (arXiv 1904.06991),
equations 1 and 2. Density and coverage: M. F. Naeem, S. J. Oh, Y. Uh, Y. Choi, J. Yoo, "Reliable
Fidelity and Diversity Metrics for Generative Models", ICML 2020 (arXiv 2002.09797), equations 5
and 6.
"""

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from ganformer_jax.metrics.features import check_pair, distance_chunks


def prdc(
    real_MxD: Float[ArrayLike, "m d"], fake_MxD: Float[ArrayLike, "m d"], k: int = 3
) -> dict[str, float]:
    """Compare two sets by balls around all rows, each as large as the distance to a k-th neighbor.

    A ball contains rows nearer than this distance, as in the code of Naeem et al., and rows equal
    to its center, so that copies of images, whose balls are points, contain each other.

    Args:
        real_MxD: Features of real images, one row each.
        fake_MxD: Features of generated images, of the same width.
        k: Which neighbor in its own set a row's ball reaches, not counting the row itself.

    Returns:
        "precision", the fraction of generated rows in some real ball; "recall", the fraction of
        real rows in some generated ball; "density", the mean number of real balls that contain a
        generated row, over k, which may exceed 1; "coverage", the fraction of real balls that
        contain a generated row.

    Raises:
        ValueError: If the sets differ in width, have at most k rows, or are not finite.
    """
    if k < 1:
        raise ValueError(f"k must be positive, got {k}")
    real, fake = check_pair(real_MxD, fake_MxD, least=k + 1)
    real_radii, fake_radii = _radii(real, k), _radii(fake, k)
    real_balls_of_fake = np.zeros(len(fake), int)
    recalled = covered = row = 0
    for distances in distance_chunks(real, fake):
        inside = _inside(distances, real_radii[row : row + len(distances), None])
        real_balls_of_fake += inside.sum(0)
        covered += int(inside.any(1).sum())
        recalled += int(_inside(distances, fake_radii[None]).any(1).sum())
        row += len(distances)
    return {
        "precision": float((real_balls_of_fake > 0).mean()),
        "recall": recalled / len(real),
        "density": float(real_balls_of_fake.mean() / k),
        "coverage": covered / len(real),
    }


def _inside(distances: np.ndarray, radii: np.ndarray) -> np.ndarray:
    return (distances < radii) | (distances == 0)


def _radii(features_MxD: np.ndarray, k: int) -> np.ndarray:
    """Return the squared distance of every row to its k-th neighbor; it is its own neighbor 0."""
    chunks = distance_chunks(features_MxD, features_MxD)
    return np.concatenate([np.partition(distances, k, axis=1)[:, k] for distances in chunks])
