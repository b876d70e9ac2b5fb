"""Losses of GANformer2 that look at segments (arXiv 2111.08960), as pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from ganformer_jax.losses.checks import require, require_shape

if TYPE_CHECKING:
    from jaxtyping import Array, Float

OFFSETS = ((0, 1), (1, 0), (0, 3), (3, 0))
"""Rows and columns to the pixels of which it is read whether they are of the same segment."""
FARTHEST = max(map(max, OFFSETS))
"""The largest of them."""
READ = 1 + len(OFFSETS)
"""Logits that are read of every pixel: whether it is background, and whether those are."""


def layout_matching(
    read_BxHxWxC: Float[Array, "b h w c"], layout_BxHxWxK: Float[Array, "b h w k"]
) -> Float[Array, " b"]:
    """Return the semantic matching loss: cross-entropy of what is read and a layout.

    Numbers of segments mean nothing, so what is compared is whether a pixel is background, and
    whether it and its neighbors at `OFFSETS` are of one segment.

    Args:
        read_BxHxWxC: `READ` logits for every pixel.
        layout_BxHxWxK: Share of each segment at every pixel, in [0, 1], the background first; at
            least 4 pixels high and wide.

    Returns:
        The mean over pixels and questions of each image, float32 [B]; non-negative.

    Raises:
        ValueError: Another rank or number of logits, or a layout of another size.
        TypeError: Arguments that are not floating point.
    """
    require(read_BxHxWxC, "logits", 4)
    require(layout_BxHxWxK, "layout", 4)
    if read_BxHxWxC.shape[-1] != READ:
        raise ValueError(f"{READ} logits of each pixel are needed, not {read_BxHxWxC.shape[-1]}")
    height, width = layout_BxHxWxK.shape[1:3]
    if read_BxHxWxC.shape[:3] != layout_BxHxWxK.shape[:3] or min(height, width) <= FARTHEST:
        least = FARTHEST + 1
        raise ValueError(
            f"logits {read_BxHxWxC.shape} and layout {layout_BxHxWxK.shape}: give one size, of "
            f"{least}x{least} pixels or more"
        )
    total = _cross_entropy(read_BxHxWxC[..., 0], layout_BxHxWxK[..., 0])
    for channel, (down, right) in enumerate(OFFSETS, 1):
        here = layout_BxHxWxK[:, : height - down, : width - right]
        same = (here * layout_BxHxWxK[:, down:, right:]).sum(-1)
        logits = read_BxHxWxC[:, : height - down, : width - right, channel]
        total += _cross_entropy(logits, same)
    return total / READ


def _cross_entropy(logits: Array, target: Array) -> Float[Array, " b"]:
    """Return the mean binary cross-entropy of each image."""
    logits = logits.astype(jnp.float32)
    loss = jax.nn.softplus(logits) - logits * target
    return loss.mean((1, 2))


def segment_fidelity(
    logits_BxK: Float[Array, "b k"], area_BxK: Float[Array, "b k"], real: bool
) -> Float[Array, " b"]:
    """Return the segment fidelity loss: the logistic loss of logits of segments.

    -log sigmoid(logit) for segments that should pass as real, -log(1 - sigmoid(logit)) for others.

    Args:
        logits_BxK: Logits of segments, high for real ones.
        area_BxK: Their shares of the image, in [0, 1]; segments of none do not count.
        real: The segments should pass as real.

    Returns:
        The mean over the segments of each image, float32 [B]; 0 where there are none.

    Raises:
        ValueError: Arguments of another rank, or of two shapes.
        TypeError: Arguments that are not floating point.
    """
    require(logits_BxK, "logits", 2)
    require_shape(area_BxK, "areas", logits_BxK.shape)
    present = (area_BxK > 0).astype(jnp.float32)
    sign = -1.0 if real else 1.0
    loss = jax.nn.softplus(sign * logits_BxK.astype(jnp.float32)) * present
    return loss.sum(1) / jnp.maximum(present.sum(1), 1.0)
