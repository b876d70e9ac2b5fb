"""3x3 convolution in fewer multiplications: Winograd's F(2x2, 3x3), for CPUs.

Lavin and Gray 2015 (arXiv 1509.09308), section 4.1. Every 2x2 tile of the output needs a 4x4 tile
of the input. Both tiles and the kernel are transformed, by additions and halvings alone, to where
the convolution is 16 products per tile and channel pair instead of 36; in float32 the result is
as accurate as direct summation (docs/performance.md).

A transformed image is a list of 16 arrays [batch, height / 2, width / 2, channels], so that each
place of the tile is one matrix product over all tiles and channels. Per axis the three transforms
are the matrices B^T (input), A^T (output) and G (kernel) of the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import lax

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    Image = Float[Array, "b h w c"]
    Kernel = Float[Array, "3 3 c o"]

ROWS, COLUMNS = 1, 2
PLACES = range(4)
LAYOUT = ("NHWC", "HWIO", "NHWC")
NARROWEST, WIDE = 32, 128
"""Channels from which on tiles are faster: for values, and for the kernel's gradient as well."""


def _input_axis(d: Sequence[Array]) -> list[Array]:
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _output_axis(m: Sequence[Array]) -> list[Array]:
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def _output_axis_transpose(y: Sequence[Array]) -> list[Array]:
    return [y[0], y[0] + y[1], y[0] - y[1], -y[1]]


def _kernel_axis(g: Sequence[Array]) -> list[Array]:
    outer, inner = (g[0] + g[2]) * 0.5, g[1] * 0.5
    return [g[0], outer + inner, outer - inner, g[2]]


def _kernel_axis_transpose(u: Sequence[Array]) -> list[Array]:
    outer = (u[1] + u[2]) * 0.5
    return [u[0] + outer, (u[1] - u[2]) * 0.5, u[3] + outer]


def _both_axes(transform: Callable[[Sequence[Array]], list[Array]], grid: list[list[Array]]):
    """Transform a grid of arrays, given as rows, along its columns and then along its rows."""
    rows = [transform(row) for row in grid]
    columns = [transform(column) for column in zip(*rows, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def _every_other(x: Array, axis: int, start: int, count: int) -> Array:
    return lax.slice_in_dim(x, start, start + 2 * count - 1, 2, axis)


def _transform_input(x: Image) -> list[list[Array]]:
    height, width = x.shape[1] // 2, x.shape[2] // 2
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = [_every_other(x, ROWS, i, height) for i in PLACES]
    return _both_axes(
        _input_axis, [[_every_other(row, COLUMNS, j, width) for j in PLACES] for row in rows]
    )


def _transform_output(products: list[list[Array]]) -> Image:
    rows = [jnp.stack(row, 3) for row in _both_axes(_output_axis, products)]
    y = jnp.stack(rows, 2)
    batch, height, _, width, _, channels = y.shape
    return y.reshape(batch, 2 * height, 2 * width, channels)


def _transform_output_transpose(y: Image) -> list[list[Array]]:
    height, width = y.shape[1] // 2, y.shape[2] // 2
    rows = [_every_other(y, ROWS, i, height) for i in (0, 1)]
    return _both_axes(
        _output_axis_transpose,
        [[_every_other(row, COLUMNS, j, width) for j in (0, 1)] for row in rows],
    )


def suits(x: Image, kernel: Array) -> bool:
    """Whether `convolve` takes these arrays and has tiles enough to repay its transforms."""
    _, height, width, _ = x.shape
    even = height % 2 == 0 and width % 2 == 0
    large = min(height, width) >= 8 and min(kernel.shape[2:]) >= NARROWEST
    return kernel.shape[:2] == (3, 3) and even and large and x.dtype == jnp.float32


def direct(x: Image, kernel: Kernel) -> Image:
    """The plain form of `convolve`, for kernels of any size."""
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT)


@jax.custom_vjp
@jax.jit  # traced once for each shape
def convolve(x_BxHxWxC: Image, kernel_3x3xCxO: Kernel) -> Image:
    """Convolve with zero padding; height and width must be even."""
    tiles = _transform_input(x_BxHxWxC)
    kernels = _both_axes(_kernel_axis, list(kernel_3x3xCxO))
    products = [[tiles[i][j] @ kernels[i][j] for j in PLACES] for i in PLACES]
    return _transform_output(products)


@jax.custom_vjp
@jax.jit
def kernel_gradient(x_BxHxWxC: Image, y_BxHxWxO: Image) -> Kernel:
    """Sum over images and positions of y times the pixels of x that each kernel place meets."""
    channels = x_BxHxWxC.shape[-1], y_BxHxWxO.shape[-1]
    if min(channels) < WIDE:
        _, gradient = jax.vjp(lambda k: direct(x_BxHxWxC, k), jnp.zeros((3, 3, *channels)))
        return gradient(y_BxHxWxO)[0]
    tiles, others = _transform_input(x_BxHxWxC), _transform_output_transpose(y_BxHxWxO)
    products = [[_sum_of_outer_products(tiles[i][j], others[i][j]) for j in PLACES] for i in PLACES]
    return jnp.stack([jnp.stack(row) for row in _both_axes(_kernel_axis_transpose, products)])


def _sum_of_outer_products(x: Image, y: Image) -> Array:
    """Flat, as XLA would transpose x before a sum over several axes, slower than the product."""
    return x.reshape(-1, x.shape[-1]).T @ y.reshape(-1, y.shape[-1])


def _turned(kernel_3x3xCxO: Kernel) -> Kernel:
    """Kernel of the transposed convolution."""
    return jnp.swapaxes(kernel_3x3xCxO[::-1, ::-1], 2, 3)


# <k, kernel_gradient(x, y)> = <y, convolve(x, k)> for all x, y and k: the gradients of either
# function are the other one and itself, to any order.
convolve.defvjp(
    lambda x, kernel: (convolve(x, kernel), (x, kernel)),
    lambda saved, y: (convolve(y, _turned(saved[1])), kernel_gradient(saved[0], y)),
)
kernel_gradient.defvjp(
    lambda x, y: (kernel_gradient(x, y), (x, y)),
    lambda saved, k: (convolve(saved[1], _turned(k)), convolve(saved[0], k)),
)
