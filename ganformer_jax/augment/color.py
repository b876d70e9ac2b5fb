"""Color transformations: one affine map of colors for each image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from ganformer_jax.augment.transforms import Chances

if TYPE_CHECKING:
    from jaxtyping import Array, Float

NAMES = ("brightness", "contrast", "lumaflip", "hue", "saturation")
BRIGHTNESS, CONTRAST, SATURATION = 0.2, 0.5, 1.0
"""Standard deviations: of an offset, and of the base-2 logarithms of factors."""

# The axis of gray is v = (1, 1, 1) / sqrt(3). `_GRAY` projects on it and `_COLOR` on the plane of
# hues; `_TURN` is the cross product with v, by which hues turn.
_GRAY = np.full((3, 3), 1 / 3, np.float32)
_COLOR = np.eye(3, dtype=np.float32) - _GRAY
_TURN = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], np.float32) / np.float32(3**0.5)


def change_colors(x_BxHxWxC: Float[Array, "b h w c"], chances: Chances) -> Float[Array, "b h w c"]:
    """Change brightness, contrast, luma, hue and saturation (arXiv 2006.06676, appendix B).

    With 3 or 4 channels the first three are red, green and blue, and a fourth one, opacity, is
    kept. With any other number each channel is gray: hue and saturation do not change it.
    """
    if not any(chances.has(name) for name in NAMES):
        return x_BxHxWxC
    ones_B = jnp.ones(x_BxHxWxC.shape[0])
    brightness_B, contrast_B, luma_B = 0 * ones_B, ones_B, ones_B
    if chances.has("brightness"):
        offset_B = BRIGHTNESS * chances.normal("brightness")
        brightness_B = jnp.where(chances.applied("brightness"), offset_B, 0)
    if chances.has("contrast"):
        factor_B = jnp.exp2(CONTRAST * chances.normal("contrast"))
        contrast_B = jnp.where(chances.applied("contrast"), factor_B, 1)
    if chances.has("lumaflip"):
        flips_B = chances.applied("lumaflip") & (chances.uniform("lumaflip") >= 0.5)
        luma_B = jnp.where(flips_B, -1, 1)
    brightness_B, contrast_B, luma_B = (
        value_B[:, None, None, None] for value_B in (brightness_B, contrast_B, luma_B)
    )
    if x_BxHxWxC.shape[-1] not in (3, 4):
        return luma_B * contrast_B * (x_BxHxWxC + brightness_B)
    rgb_BxHxWx3 = contrast_B * (x_BxHxWxC[..., :3] + brightness_B)
    matrix_Bx3x3 = luma_B[..., 0] * _GRAY[None] + _hue_and_saturation(ones_B, chances)
    rgb_BxHxWx3 = sum(  # a product with matrices, in float32 on every platform
        rgb_BxHxWx3[..., i, None] * matrix_Bx3x3[:, None, None, :, i] for i in range(3)
    )
    return jnp.concatenate([rgb_BxHxWx3, x_BxHxWxC[..., 3:]], -1)


def _hue_and_saturation(ones_B: Float[Array, " b"], chances: Chances) -> Float[Array, "b 3 3"]:
    """Return what is done to the part of a color that is not gray."""
    angle_B, factor_B = 0 * ones_B, ones_B
    if chances.has("hue"):
        turn_B = np.pi * (2 * chances.uniform("hue") - 1)
        angle_B = jnp.where(chances.applied("hue"), turn_B, 0)
    if chances.has("saturation"):
        drawn_B = jnp.exp2(SATURATION * chances.normal("saturation"))
        factor_B = jnp.where(chances.applied("saturation"), drawn_B, 1)
    cosine_B, sine_B = factor_B * jnp.cos(angle_B), factor_B * jnp.sin(angle_B)
    return cosine_B[:, None, None] * _COLOR[None] + sine_B[:, None, None] * _TURN[None]
