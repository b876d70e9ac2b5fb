"""Geometric transformations: the choice of one affine map of positions for each image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from ganformer_jax.augment.transforms import Chances
from ganformer_jax.augment.warp import Affine, warp

if TYPE_CHECKING:
    from jaxtyping import Array, Float

NAMES = ("xflip", "rotate90", "xint", "scale", "rotate", "aniso", "xfrac")
WHOLE_SHIFT, SHIFT = 0.125, 0.125
"""Largest shift by whole pixels, and standard deviation of any shift, relative to the image."""
SCALE, ASPECT = 0.2, 0.2
"""Standard deviations of the base-2 logarithms of the scale and of the stretch."""


def change_geometry(x_BxHxWxC: Float[Array, "b h w c"], chances: Chances) -> Array:
    """Flip, turn, shift, scale and stretch images (arXiv 2006.06676, appendix B)."""
    if not any(chances.has(name) for name in NAMES):
        return x_BxHxWxC
    height, width = x_BxHxWxC.shape[1:3]
    return warp(x_BxHxWxC, _where_from(chances, x_BxHxWxC.shape[0], height, width))


def _where_from(chances: Chances, count: int, height: int, width: int) -> Affine:
    """Choose where each pixel comes from; positions are in pixels from the center."""
    size_1x2 = jnp.array([[width, height]], jnp.float32)
    ones_B = jnp.ones(count)
    place = Affine(jnp.broadcast_to(jnp.eye(2), (count, 2, 2)), jnp.zeros((count, 2)))
    if chances.has("xflip"):
        flips_B = chances.applied("xflip") & (chances.uniform("xflip") >= 0.5)
        place = place.after(_scaling(jnp.where(flips_B, -1.0, 1.0), ones_B))
    if chances.has("rotate90"):
        quarters_B = jnp.floor(4 * chances.uniform("rotate90"))
        turn_Bx2x2 = jnp.round(_rotation(np.pi / 2 * quarters_B))
        place = place.after(_where(chances.applied("rotate90"), turn_Bx2x2))
    if chances.has("xint"):
        shift_Bx2 = WHOLE_SHIFT * (2 * _pair(chances.uniform, "xint") - 1)
        shift_Bx2 = jnp.where(chances.applied("xint")[:, None], shift_Bx2, 0)
        place = place.after_shift(-jnp.round(shift_Bx2 * size_1x2))
    if chances.has("scale"):
        scale_B = jnp.exp2(-SCALE * chances.normal("scale"))
        scale_B = jnp.where(chances.applied("scale"), scale_B, 1)
        place = place.after(_scaling(scale_B, scale_B))
    turns = _turns(chances)
    if turns:
        place = place.after(turns[0])
    if chances.has("aniso"):
        stretch_B = jnp.exp2(-ASPECT * chances.normal("aniso"))
        stretch_B = jnp.where(chances.applied("aniso"), stretch_B, 1)
        place = place.after(_scaling(stretch_B, 1 / stretch_B))
    if turns:
        place = place.after(turns[1])
    if chances.has("xfrac"):
        shift_Bx2 = SHIFT * _pair(chances.normal, "xfrac")
        shift_Bx2 = jnp.where(chances.applied("xfrac")[:, None], shift_Bx2, 0)
        place = place.after_shift(-shift_Bx2 * size_1x2)
    return place


def _turns(chances: Chances) -> tuple[Float[Array, "b 2 2"], ...]:
    """Choose the rotations before and after stretching; without `rotate`, return no matrices.

    The probability that at least one of the two is applied is that of the transformation.
    """
    if not chances.has("rotate"):
        return ()
    either = jnp.clip(chances.probability("rotate"), 0, 1)
    each = 1 - jnp.sqrt(1 - either)
    turns = []
    for column in (0, 2):
        angle_B = np.pi * (2 * chances.uniform("rotate", column + 1) - 1)
        turns.append(_where(chances.below(each, "rotate", column), _rotation(angle_B)))
    if chances.percentile is not None:  # as in the published code
        turns[1] = jnp.broadcast_to(jnp.eye(2), turns[1].shape)
    return tuple(turns)


def _pair(draw, name: str) -> Float[Array, "b 2"]:
    return jnp.stack([draw(name, 1), draw(name, 2)], 1)


def _where(applied_B: Array, linear_Bx2x2: Array) -> Float[Array, "b 2 2"]:
    return jnp.where(applied_B[:, None, None], linear_Bx2x2, jnp.eye(2)[None])


def _scaling(x_B: Array, y_B: Array) -> Float[Array, "b 2 2"]:
    return jnp.stack([x_B, y_B], 1)[:, :, None] * jnp.eye(2)[None]


def _rotation(angle_B: Array) -> Float[Array, "b 2 2"]:
    cosine_B, sine_B = jnp.cos(angle_B), jnp.sin(angle_B)
    entries = [cosine_B, -sine_B, sine_B, cosine_B]
    return jnp.stack(entries, 1).reshape(-1, 2, 2)
