"""The codebook: averages of the vectors that its entries stand for, and restarts of unused ones.

Averages: van den Oord et al. 2017 (arXiv 1711.00937), appendix A.1. Restarts: Dhariwal et al. 2020
(arXiv 2005.00341), section 3.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from ganformer_jax.config.prior import CodebookConfig
from ganformer_jax.nn.initialize import normal

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int, Key

SMALLEST = 1e-6
"""Uses of an entry, relative to the mean, below which its average is left as it is."""


class Codebook(flax.struct.PyTreeNode):
    """Entries, and the moving averages that they are made of, float32."""

    entries: Float[Array, "m d"]
    uses: Float[Array, " m"]
    """Uses of each entry relative to the mean: 1 for an entry as frequent as others."""
    sums: Float[Array, "m d"]
    """Sums of the vectors that each entry stands for, in the same unit."""


def new_codebook(config: CodebookConfig, key: Key[Array, ""]) -> Codebook:
    """Return a codebook of random entries, none of which is in use."""
    entries = normal()(key, (config.entries, config.width))
    return Codebook(entries, jnp.zeros(config.entries), jnp.zeros_like(entries))


def update_codebook(
    config: CodebookConfig,
    codebook: Codebook,
    vectors_BxHxWxD: Float[Array, "b h w d"],
    codes_BxHxW: Int[Array, "b h w"],
    key: Key[Array, ""],
) -> Codebook:
    """Move entries to the vectors that they stand for, and restart those that are hardly used.

    An entry restarts from a vector of the batch. All entries of a new codebook do, so that it
    starts from vectors of the first batch, unless `config.restart_below` is 0.

    Args:
        config: The codebook.
        codebook: Codebook before the step.
        vectors_BxHxWxD: Vectors that the encoder returns.
        codes_BxHxW: Entry that stands for each vector.
        key: Decides the vectors of restarts.
    """
    vectors_PxD, count = vectors_BxHxWxD.reshape(-1, config.width), config.entries
    chosen_PxM = jax.nn.one_hot(codes_BxHxW.reshape(-1), count)
    share = count / vectors_PxD.shape[0]
    sums = jnp.einsum("pm,pd->md", chosen_PxM, vectors_PxD, precision="highest") * share

    def average(old: Array, new: Array) -> Array:
        return config.decay * old + (1 - config.decay) * new

    uses_M = average(codebook.uses, chosen_PxM.sum(0) * share)
    sums_MxD = average(codebook.sums, sums)
    known_Mx1 = (uses_M > SMALLEST)[:, None]
    means_MxD = sums_MxD / jnp.maximum(uses_M, SMALLEST)[:, None]
    moved = codebook.replace(
        entries=jnp.where(known_Mx1, means_MxD, codebook.entries), uses=uses_M, sums=sums_MxD
    )
    if not config.restart_below:
        return moved
    repeats = vectors_PxD.shape[0] < count
    drawn_M = jax.random.choice(key, vectors_PxD.shape[0], (count,), replace=repeats)
    is_new = codebook.uses.sum() == 0
    fresh_MxD, dead_M = vectors_PxD[drawn_M], is_new | (uses_M < config.restart_below)
    return Codebook(
        entries=jnp.where(dead_M[:, None], fresh_MxD, moved.entries),
        uses=jnp.where(dead_M, 1.0, uses_M),
        sums=jnp.where(dead_M[:, None], fresh_MxD, sums_MxD),
    )


def use_of(counts_M: Int[np.ndarray, " m"]) -> tuple[float, float]:
    """Return how a codebook is used: the share of entries, and the perplexity of codes.

    Args:
        counts_M: Occurrences of each entry, one or more in all.

    Returns:
        The share of entries that occur; and from 1 to M, as many as there are entries if all are
        equally frequent: 2 to the entropy of a code in bits.
    """
    shares_M = counts_M / counts_M.sum()
    logs_M = np.log(np.maximum(shares_M, 1e-30))
    return float((counts_M > 0).mean()), float(np.exp(-(shares_M * logs_M).sum()))
