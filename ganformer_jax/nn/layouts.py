"""Layouts: for every pixel, the shares of the segments that it belongs to.

A layout is float32 [B, H, W, K], non-negative, and sums to 1 over its K segments, of which the
first is the background. Those of real images are one-hot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import lax

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int, Key

HIDDEN = -1e4
"""Score of a segment that is not there."""
LEAK = 1e-4
"""Least share of a segment in the scores of attention, which are logarithms."""
CERTAIN = 8.0
"""Score of a pixel's own segment, where that of attending to nothing is 0."""


def one_hot_layout(labels_BxHxW: Int[Array, "b h w"], segments: int) -> Float[Array, "b h w k"]:
    """Return the layout of label maps, whose labels are from 0 to `segments` - 1."""
    return jax.nn.one_hot(labels_BxHxW, segments)


def compose(
    shape_BxHxWxK: Float[Array, "b h w k"],
    depth_BxHxWxK: Float[Array, "b h w k"],
    present_BxK: Float[Array, "b k"],
) -> Float[Array, "b h w k"]:
    """Compose segments into a layout: nearer ones occlude others.

    softmax(depth + log shape) over segments, as in GANformer2 (arXiv 2111.08960): a segment
    is where its shape is, and among several there, the share of a nearer one is larger.

    Args:
        shape_BxHxWxK: Logarithm of the probability that a pixel is in a segment's shape.
        depth_BxHxWxK: Nearness; the share of a segment grows with its exponential.
        present_BxK: 0 leaves a segment out. One or more of each image are present.
    """
    scores = shape_BxHxWxK + depth_BxHxWxK + (1.0 - present_BxK)[:, None, None] * HIDDEN
    return jax.nn.softmax(scores, -1)


def harden(layout_BxHxWxK: Float[Array, "b h w k"]) -> Float[Array, "b h w k"]:
    """Return the one-hot layout of the largest shares, with the gradients of the shares.

    The straight-through estimator of Bengio et al. 2013 (arXiv 1308.3432).
    """
    hard = one_hot_layout(layout_BxHxWxK.argmax(-1), layout_BxHxWxK.shape[-1])
    return layout_BxHxWxK + lax.stop_gradient(hard - layout_BxHxWxK)


def shrink(maps_BxHxWxK: Float[Array, "b h w k"], height: int) -> Float[Array, "b h2 w2 k"]:
    """Average maps over cells, so that their height, a multiple of it, is `height`."""
    batch, rows, columns, channels = maps_BxHxWxK.shape
    cell = rows // height
    split = maps_BxHxWxK.reshape(batch, height, cell, columns // cell, cell, channels)
    return split.mean((2, 4))


def layout_scores(
    layout_BxHxWxK: Float[Array, "b h w k"], height: int, width: int
) -> Float[Array, "b f k"]:
    """Return scores by which pixels of a grid attend to the segments that they belong to.

    With a score of 0 for nothing, their softmax is the layout, shrunk to the grid, but for `LEAK`.
    """
    shares = shrink(layout_BxHxWxK, height)
    return jnp.log(shares + LEAK).reshape(shares.shape[0], height * width, -1) + CERTAIN


def pool_segments(
    features_BxHxWxC: Float[Array, "b h w c"], layout_BxHxWxK: Float[Array, "b h2 w2 k"]
) -> tuple[Float[Array, "b k c"], Float[Array, "b k"]]:
    """Return the mean features of every segment, and its share of the image.

    Features of less than half a pixel fall to 0 with the share, and gradients stay small.
    """
    shares = shrink(layout_BxHxWxK, features_BxHxWxC.shape[1])
    area_BxK = shares.mean((1, 2))
    cells = shares.shape[1] * shares.shape[2]
    least = min(1e-4, 0.5 / cells)
    sums = jnp.einsum("bhwk,bhwc->bkc", shares, features_BxHxWxC.astype(jnp.float32))
    return sums / (cells * jnp.maximum(area_BxK, least))[..., None], area_BxK


def shuffle_segments(
    layout_BxHxWxK: Float[Array, "b h w k"], draw_BxK: Float[Array, "b k"]
) -> Float[Array, "b h w k"]:
    """Reorder segments but the background, those of each image by random numbers.

    Args:
        layout_BxHxWxK: The layout.
        draw_BxK: Numbers whose order is the new one; that of the background is not read.
    """
    order_BxK = jnp.concatenate(
        [jnp.zeros_like(draw_BxK[:, :1], jnp.int32), 1 + jnp.argsort(draw_BxK[:, 1:], -1)], 1
    )
    moves_BxKxK = jax.nn.one_hot(order_BxK, order_BxK.shape[1])
    return jnp.einsum("bhwk,bjk->bhwj", layout_BxHxWxK, moves_BxKxK, precision="highest")


def hierarchical_noise(
    key: Key[Array, ""], shape: tuple[int, ...], stddev: float
) -> Float[Array, "b h w k"]:
    """Draw the sum of normal noise at every resolution from 2x2 up to `shape` [B, H, W, K].

    Hierarchical noise of arXiv 2111.08960, here with one standard deviation.
    """
    batch, height, width, segments = shape
    total, rows = jnp.zeros(shape), 2
    while rows <= height:
        columns = max(1, rows * width // height)
        drawn = jax.random.normal(jax.random.fold_in(key, rows), (batch, rows, columns, segments))
        grown = jnp.repeat(jnp.repeat(drawn, height // rows, 1), width // columns, 2)
        total, rows = total + stddev * grown, 2 * rows
    return total


def move_maps(
    maps_BxHxW: Float[Array, "b h w"], down: int, right: int, fill: float
) -> Float[Array, "b h w"]:
    """Move maps by whole pixels; what comes in at the border is `fill`."""
    height, width = maps_BxHxW.shape[1:]
    rows, columns = jnp.arange(height) - down, jnp.arange(width) - right
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))[None]
    moved = jnp.roll(maps_BxHxW, (down, right), (1, 2))
    return jnp.where(inside[None], moved, fill)
