"""Start of a projection: the mean of w, and its spread around the mean."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ganformer_jax.config import GeneratorConfig
from ganformer_jax.models.by_seed import apply_sampling, draw_z

if TYPE_CHECKING:
    from jaxtyping import Array, Float, UInt32

COUNT, BATCH = 10_000, 500


class LatentStatistics(NamedTuple):
    """Statistics of w over many z.

    Attributes:
        mean_KxD: Mean of each component's latent and, last, of the global one.
        deviation_K: Root of the mean squared distance from the mean, for a single number of w.
    """

    mean_KxD: Float[np.ndarray, "k d"]
    deviation_K: Float[np.ndarray, " k"]


def latent_statistics(
    config: GeneratorConfig,
    variables: Mapping[str, Any],
    label_Y: Float[np.ndarray, " y"] | None = None,
    count: int = COUNT,
) -> LatentStatistics:
    """Measure mean and spread of w (StyleGAN2, arXiv 1912.04958, appendix D), by component.

    Args:
        config: Config of the generator.
        variables: Variables of the generator.
        label_Y: One-hot class or condition of all images; needed if the generator has labels.
        count: Number of z, those of the first seeds.
    """
    seeds = np.arange(count, dtype=np.uint32)
    batch = min(BATCH, count)
    found = []
    for start in range(0, count, batch):
        taken = seeds[np.arange(start, start + batch) % count]
        found.append(jax.device_get(_map(config, variables, taken, label_Y)))
    w_MxKxD = np.concatenate(found)[:count].astype(np.float64)
    mean_KxD = w_MxKxD.mean(0)
    moved = (w_MxKxD - mean_KxD)[..., : config.truncated_w_size]  # labels in w are the same for all
    deviation_K = np.sqrt(np.square(moved).mean((0, 2)))
    return LatentStatistics(mean_KxD.astype(np.float32), deviation_K.astype(np.float32))


@functools.partial(jax.jit, static_argnums=0)
def _map(
    config: GeneratorConfig,
    variables: Mapping[str, Any],
    seeds_B: UInt32[Array, " b"],
    label_Y: Float[Array, " y"] | None,
) -> Float[Array, "b k d"]:
    z_BxKxD = draw_z(config, seeds_B)
    labels = None
    if label_Y is not None:
        labels = jnp.broadcast_to(label_Y, (len(z_BxKxD), *label_Y.shape))
    return apply_sampling(config, variables, z_BxKxD, labels, method="map")
