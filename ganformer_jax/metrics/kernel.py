"""Kernel distance: squared maximum mean discrepancy (MMD) with a cubic polynomial kernel.

On features of Inception it is the kernel Inception distance (KID): M. Binkowski, D. J. Sutherland,
M. Arbel, A. Gretton, "Demystifying MMD GANs", ICLR 2018 (arXiv 1801.01401), section 4 and
equation 4. The estimate is unbiased: for equal distributions it is 0 on average, so it may be
negative.
"""

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from ganformer_jax.metrics.features import check_pair

BLOCK = 2048  # rows of the kernel matrix held in memory at once


def kernel_distance(
    real_MxD: Float[ArrayLike, "m d"],
    fake_MxD: Float[ArrayLike, "m d"],
    *,
    subsets: int = 1,
    subset_size: int | None = None,
    seed: int = 0,
) -> float:
    """Return the unbiased squared MMD with the kernel (x . y / D + 1)^3; 0 is best.

    Args:
        real_MxD: Features of real images, one row each.
        fake_MxD: Features of generated images, of the same width.
        subsets: Number of random subsets of `subset_size` to average over.
        subset_size: Number of rows of each set in a subset. By default there is one subset: the
            first rows of each set, as many as the smaller one has.
        seed: Seed of the subsets, which are drawn without replacement.

    Raises:
        ValueError: If the sets differ in width, have fewer than two or `subset_size` rows, or are
            not finite; or if there are several subsets without a size.
    """
    if subsets < 1:
        raise ValueError(f"subsets must be positive, got {subsets}")
    if subset_size is None and subsets > 1:
        raise ValueError(f"{subsets} subsets need a subset_size")
    if subset_size is not None and subset_size < 2:
        raise ValueError(f"subset_size must be 2 or more, got {subset_size}")
    real, fake = check_pair(real_MxD, fake_MxD, least=max(2, subset_size or 2))
    if subset_size is None:
        rows = min(len(real), len(fake))
        return _squared_mmd(real[:rows], fake[:rows])
    random = np.random.default_rng(seed)

    def draw(features: np.ndarray) -> np.ndarray:
        return features[random.choice(len(features), subset_size, replace=False)]

    return float(np.mean([_squared_mmd(draw(real), draw(fake)) for _ in range(subsets)]))


def _squared_mmd(x_MxD: np.ndarray, y_MxD: np.ndarray) -> float:
    """Compute equation 4, in which the sums within a set exclude the diagonal."""
    rows = len(x_MxD)
    within = _kernel_sum(x_MxD, x_MxD) + _kernel_sum(y_MxD, y_MxD)
    within -= _kernel_diagonal(x_MxD) + _kernel_diagonal(y_MxD)
    between = _kernel_sum(x_MxD, y_MxD)
    return float(within / (rows * (rows - 1)) - 2 * between / rows**2)


def _kernel_sum(x_MxD: np.ndarray, y_MxD: np.ndarray) -> float:
    blocks = (x_MxD[start : start + BLOCK] for start in range(0, len(x_MxD), BLOCK))
    return sum(float(((x @ y_MxD.T / x.shape[1] + 1) ** 3).sum()) for x in blocks)


def _kernel_diagonal(x_MxD: np.ndarray) -> float:
    return float(((np.square(x_MxD).mean(1) + 1) ** 3).sum())
