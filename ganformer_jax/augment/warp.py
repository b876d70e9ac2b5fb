"""Affine maps of images, at twice the resolution, between filters of a wavelet transform.

Changes of resolution are matrix products: on TPUs, filters of images with few channels take about
20 times as long (docs/notes/tpu.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int

# The symlet of order 6 (Daubechies), an orthogonal low-pass filter, for twice the resolution.
_SYMLET_6 = (
    *(0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633),
    *(0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252),
    *(-0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148),
)
_REACH = len(_SYMLET_6) // 4  # of the filter, in pixels of the image
_MORE = len(_SYMLET_6) - 2  # places at twice the resolution that halving takes beyond its own
_EDGE = 2  # zeros around, so that places far outside are 0


class Affine(NamedTuple):
    """A map of positions for each image: `linear @ position + shift`, with x before y."""

    linear_Bx2x2: Float[Array, "b 2 2"]
    shift_Bx2: Float[Array, "b 2"]

    def after(self, linear_Bx2x2: Float[Array, "b 2 2"]) -> Affine:
        """Return this map applied to the result of a linear one."""
        product = jnp.einsum("bij,bjk->bik", self.linear_Bx2x2, linear_Bx2x2, precision="highest")
        return Affine(product, self.shift_Bx2)

    def after_shift(self, shift_Bx2: Float[Array, "b 2"]) -> Affine:
        """Return this map applied to shifted positions."""
        return Affine(self.linear_Bx2x2, self(shift_Bx2[:, 0], shift_Bx2[:, 1]))

    def __call__(self, x: Float[Array, " b"], y: Float[Array, " b"]) -> Float[Array, "b 2"]:
        """Map one position of each image."""
        place_Bx2 = self.linear_Bx2x2[..., 0] * x[:, None] + self.linear_Bx2x2[..., 1] * y[:, None]
        return place_Bx2 + self.shift_Bx2


def warp(x_BxHxWxC: Float[Array, "b h w c"], place: Affine) -> Float[Array, "b h w c"]:
    """Take each pixel from another place: at twice the resolution, with bilinear interpolation.

    Both changes of resolution have an orthogonal wavelet filter. Images are reflected as far as a
    map reaches beyond their borders, at most once; farther out they are 0.

    Args:
        x_BxHxWxC: Images.
        place: Where a pixel comes from, from its own position; in pixels from the center.
    """
    height, width = x_BxHxWxC.shape[1:3]
    first_Bx2, last_Bx2 = _reached(place, height, width)
    rows_BxPxH = _double(height, first_Bx2[:, 1], last_Bx2[:, 1])
    columns_BxPxW = _double(width, first_Bx2[:, 0], last_Bx2[:, 0])
    doubled = _product("bph,bhwc->bpwc", rows_BxPxH, x_BxHxWxC)
    doubled = _product("bpw,bhwc->bhpc", columns_BxPxW, doubled)
    # Pixels of the result at twice the resolution, as far around it as the filter reaches.
    x_P, y_P = (
        jnp.arange(2 * size + _MORE) / 2 - size / 2 - _REACH + 1 for size in (width, height)
    )
    x, y = x_P[None, None, :], y_P[None, :, None]
    linear, shift = place.linear_Bx2x2[..., None, None], place.shift_Bx2[..., None, None]
    column_BxHxW, row_BxHxW = (
        2 * (linear[:, i, 0] * x + linear[:, i, 1] * y + shift[:, i]) + (3 * (size - 1) + _EDGE)
        for i, size in enumerate((width, height))
    )
    warped = _interpolate(doubled, row_BxHxW, column_BxHxW)
    warped = _product("hp,bpwc->bhwc", _halve(height), warped)
    return _product("wp,bhpc->bhwc", _halve(width), warped)


def _product(subscripts: str, matrix: Array, images: Array) -> Array:
    return jnp.einsum(subscripts, matrix, images, precision="highest")


def _reached(place: Affine, height: int, width: int) -> tuple[Int[Array, "b 2"], Int[Array, "b 2"]]:
    """Return the first and the last column and row of the image that a map reaches.

    They are from `1 - size` to `2 * size - 2`, which are those of its reflections, with twice the
    filter's reach around what is needed.
    """
    last_1x2 = jnp.array([[width - 1, height - 1]])
    half_1x2 = last_1x2 / 2
    extent_Bx2 = (jnp.abs(place.linear_Bx2x2) * half_1x2[:, None]).sum(-1)
    margin_Bx2 = extent_Bx2 + 2 * _REACH - half_1x2
    margins = (margin_Bx2 - place.shift_Bx2, margin_Bx2 + place.shift_Bx2)
    before, after = (jnp.ceil(jnp.clip(m, 0, last_1x2)).astype(jnp.int32) for m in margins)
    return -before, last_1x2 + after


def _double(
    size: int, first_B: Int[Array, " b"], last_B: Int[Array, " b"]
) -> Float[Array, "b p h"]:
    """Return matrices that double the resolution of an image and of its reflections.

    The image reaches from pixel `first` to `last` and is 0 beyond. Rows are places at twice the
    resolution, from those of pixel `1 - size` to `2 * size - 2`, and `_EDGE` more at both ends.
    """
    row = jnp.arange(2 * (3 * size - 2) + 2 * _EDGE)[None, :, None] - 2 * (size - 1) - _EDGE
    pixel = jnp.arange(size)[None, None]
    first, last = first_B[:, None, None], last_B[:, None, None]
    total = _tap(row - 2 * pixel)
    for mirror in (0, size - 1):
        mirrored = 2 * mirror - pixel
        reached = (pixel != mirror) & (mirrored >= first) & (mirrored <= last)
        total = total + jnp.where(reached, _tap(row - 2 * mirrored), 0)
    return jnp.where((row >= 2 * first) & (row <= 2 * last + 1), total, 0)


def _tap(offset: Int[Array, "*place"]) -> Float[Array, "*place"]:
    """Return what a pixel adds to a place that lies `offset` after its own, in half pixels."""
    return _lookup(offset + len(_SYMLET_6) // 2 - 1, 2.0)


def _halve(size: int) -> Float[Array, "h p"]:
    """Return the matrix that halves the resolution of `2 * size + _MORE` places."""
    return _lookup(jnp.arange(2 * size + _MORE)[None] - 2 * jnp.arange(size)[:, None], 1.0)


def _lookup(index: Int[Array, "*place"], gain: float) -> Float[Array, "*place"]:
    """Return the taps of the filter by their index, scaled to a sum of `gain`; 0 for others."""
    found = jnp.zeros(index.shape)
    for number, tap in enumerate(_SYMLET_6):
        found += jnp.where(index == number, tap * gain / sum(_SYMLET_6), 0)
    return found


def _interpolate(
    x_BxHxWxC: Float[Array, "b h w c"],
    row_BxHxW: Float[Array, "b h2 w2"],
    column_BxHxW: Float[Array, "b h2 w2"],
) -> Float[Array, "b h2 w2 c"]:
    """Interpolate between the four pixels around each place; images have `_EDGE` zeros around."""
    height, width = x_BxHxWxC.shape[1:3]
    top, left = jnp.floor(row_BxHxW), jnp.floor(column_BxHxW)
    down, right = (row_BxHxW - top)[..., None], (column_BxHxW - left)[..., None]
    row = jnp.clip(top, 0, height - 2).astype(jnp.int32)
    column = jnp.clip(left, 0, width - 2).astype(jnp.int32)
    near = lax.platform_dependent(x_BxHxWxC, row, column, default=_take_patches, tpu=_take_pairs)
    upper = near[..., 0, 0, :] * (1 - right) + near[..., 0, 1, :] * right
    lower = near[..., 1, 0, :] * (1 - right) + near[..., 1, 1, :] * right
    return upper * (1 - down) + lower * down


def _take_patches(
    x_BxHxWxC: Float[Array, "b h w c"], row_BxHxW: Int[Array, "b h2 w2"], column_BxHxW: Array
) -> Float[Array, "b h2 w2 2 2 c"]:
    """Return the 2x2 pixels from each row and column on."""
    numbers = lax.GatherDimensionNumbers((2, 3, 4), (), (0, 1))
    size = 2, 2, x_BxHxWxC.shape[-1]

    def take(image: Array, index: Array) -> Array:
        return lax.gather(image, index, numbers, size, mode="promise_in_bounds")

    return jax.vmap(take)(x_BxHxWxC, jnp.stack([row_BxHxW, column_BxHxW], -1))


def _take_pairs(
    x_BxHxWxC: Float[Array, "b h w c"], row_BxHxW: Int[Array, "b h2 w2"], column_BxHxW: Array
) -> Float[Array, "b h2 w2 2 2 c"]:
    """Return the same as `_take_patches`, in the form that suits TPUs: rows of a table of pairs."""
    pairs = jnp.concatenate([x_BxHxWxC, jnp.roll(x_BxHxWxC, -1, 2)], -1)
    take = jax.vmap(lambda table, row, column: table[row, column])
    rows = [take(pairs, row_BxHxW + step, column_BxHxW) for step in (0, 1)]
    near = jnp.stack(rows, 3)
    return near.reshape(*near.shape[:4], 2, x_BxHxWxC.shape[-1])
