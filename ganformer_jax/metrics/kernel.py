"""Kernel distance: squared maximum mean discrepancy with a cubic polynomial kernel.

On features of Inception it is the kernel Inception distance: M. Binkowski, D. J. Sutherland,
M. Arbel, A. Gretton, "Demystifying MMD GANs", ICLR 2018 (arXiv 1801.01401), section 4 and
equation 4. Unbiased: equal distributions give 0 on average, and so now and then less than 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ganformer_jax.metrics.features import check_pair

if TYPE_CHECKING:
    from jaxtyping import Float

BLOCK = 2048  # rows of the kernel matrix held in memory at once


def kernel_distance(
    real_NxD: Float[np.ndarray, "n dim"],
    fake_MxD: Float[np.ndarray, "m dim"],
    *,
    subsets: int = 1,
    subset_size: int | None = None,
    seed: int = 0,
) -> float:
    """Unbiased squared discrepancy with the kernel `(x . y / dim + 1) ** 3`.

    Args:
        real_NxD: Features of real images, a row each.
        fake_MxD: Features of generated ones, of the same width.
        subsets: How many random subsets to average over.
        subset_size: Rows of each set in a subset. By default all rows make one subset: the first
            `min(n, m)` of either set, undrawn.
        seed: Draws the subsets, without replacement.

    Raises:
        ValueError: If the sets differ in width, have fewer than two rows or than `subset_size`, or
            are not finite.
    """
    if subsets < 1:
        raise ValueError(f"subsets must be positive, got {subsets}")
    real, fake = check_pair(real_NxD, fake_MxD, least=max(2, subset_size or 2))
    if subset_size is None:
        rows = min(len(real), len(fake))
        return _discrepancy(real[:rows], fake[:rows])
    random = np.random.default_rng(seed)

    def draw(features: np.ndarray) -> np.ndarray:
        return features[random.choice(len(features), subset_size, replace=False)]

    return float(np.mean([_discrepancy(draw(real), draw(fake)) for _ in range(subsets)]))


def _discrepancy(one_NxD: np.ndarray, other_NxD: np.ndarray) -> float:
    rows = len(one_NxD)
    within = _kernel_sum(one_NxD, one_NxD) + _kernel_sum(other_NxD, other_NxD)
    within -= _kernel_diagonal(one_NxD) + _kernel_diagonal(other_NxD)
    between = _kernel_sum(one_NxD, other_NxD)
    return float(within / (rows * (rows - 1)) - 2 * between / rows**2)


def _kernel_sum(x_NxD: np.ndarray, y_MxD: np.ndarray) -> float:
    blocks = (x_NxD[start : start + BLOCK] for start in range(0, len(x_NxD), BLOCK))
    return sum(float(((x @ y_MxD.T / x.shape[1] + 1) ** 3).sum()) for x in blocks)


def _kernel_diagonal(x_NxD: np.ndarray) -> float:
    return float(((np.square(x_NxD).mean(1) + 1) ** 3).sum())
