"""The loss that compares images with the labels of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from ganformer_jax.losses.checks import require

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float

    PerImage = Float[Array, " b"]


def contrastive(
    similarities_BxN: Float[Array, "b n"],
    same_BxN: Bool[Array, "b n"],
    temperature: float = 0.1,
) -> PerImage:
    """Return -log of the share that an image's own label has among the labels of a batch.

    The contrastive loss between images and sentences of Zhang et al. 2021 (XMC-GAN, arXiv
    2101.04702, section 4), from images to sentences only: so the images of a batch may be computed
    in parts, as long as all labels are there.

    Args:
        similarities_BxN: Cosines between the vectors of images and of labels.
        same_BxN: True for labels that are the image's own, at least one; there are several if
            images have the same label.
        temperature: Divisor of the cosines.

    Raises:
        ValueError: Arguments of another rank, or of different shapes.
        TypeError: Similarities that are not floating point, or `same` that is not bool.
    """
    require(similarities_BxN, "similarities", 2)
    if same_BxN.dtype != bool:
        raise TypeError(f"same must be bool, not {same_BxN.dtype}")
    if similarities_BxN.shape != same_BxN.shape:
        raise ValueError(f"similarities {similarities_BxN.shape}, but same {same_BxN.shape}")
    scaled_BxN = similarities_BxN.astype(jnp.float32) / temperature
    own_B = jax.nn.logsumexp(scaled_BxN, 1, where=same_BxN)
    return jax.nn.logsumexp(scaled_BxN, 1) - own_B
