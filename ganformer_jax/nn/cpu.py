"""Forms of the FIR filter and of convolutions for CPUs; GPUs use that of the filter too.

Each gives the same result as the plain form in `resample`; `platforms.by_platform` chooses.

- FIR filter: a few shifted additions per axis, in two phases where the resolution changes.
- Strided and transposed convolution: matrix products. XLA's CPU backend takes ten times as long for
  the weight gradient of a dilated convolution. Second derivatives of a strided convolution, which
  R1 takes, contain such a gradient.
- 3x3 convolution: Winograd's F(2x2, 3x3), with fewer multiplications.

docs/performance.md has the times.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import lax

from ganformer_jax.nn import mapped_axes

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    Image = Float[Array, "b h w c"]
    Kernel = Float[Array, "h w i o"]

ROWS, COLUMNS = 1, 2
LAYOUT = ("NHWC", "HWIO", "NHWC")


def _every_other(x: Array, axis: int, start: int, count: int) -> Array:
    return lax.slice_in_dim(x, start, start + 2 * count - 1, 2, axis)


def _interleave(even_and_odd: list[Array], axis: int) -> Array:
    x = jnp.stack(even_and_odd, axis + 1)
    return x.reshape(*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 2 :])


def _pad(x: Array, axis: int, before: int, after: int) -> Array:
    padding = [(0, 0, 0)] * x.ndim
    padding[axis] = (before, after, 0)
    return lax.pad(x, jnp.zeros((), x.dtype), padding)


# The FIR filter


def shifted_filter(
    x_BxHxWxC: Image, *, taps: tuple[float, ...], pad: tuple[int, int], up: int, down: int
) -> Image:
    """Filter rows, then columns, as `resample.plain_filter` does.

    One of `up` and `down` is 1 and the other 1 or 2.
    """
    for axis in (ROWS, COLUMNS):
        size = (x_BxHxWxC.shape[axis] * up + sum(pad) - len(taps)) // down + 1
        x_BxHxWxC = _filter_axis(x_BxHxWxC, axis, taps, up, down, pad[0], size)
    return x_BxHxWxC


_STATIC = (1, 2, 3, 4, 5, 6)


@functools.partial(jax.custom_vjp, nondiff_argnums=_STATIC)
@functools.partial(jax.jit, static_argnums=_STATIC)  # traced once for each shape
def _filter_axis(
    x: Array, axis: int, taps: tuple[float, ...], up: int, down: int, pad: int, size: int
) -> Array:
    """Filter along one axis, to a length of `size`."""
    if up == 1:
        terms = [(t - pad, tap) for t, tap in enumerate(taps)]
        return _shifted_sum(x, terms, axis, size, down)
    phases = []
    for phase in (0, 1):
        reached = [(t, tap) for t, tap in enumerate(taps) if (phase + t - pad) % 2 == 0]
        terms = [((phase + t - pad) // 2, tap) for t, tap in reached]
        phases.append(_shifted_sum(x, terms, axis, -(-size // 2), 1))
    return lax.slice_in_dim(_interleave(phases, axis), 0, size, axis=axis)


def _shifted_sum(x: Array, terms: list[tuple[int, float]], axis: int, size: int, step: int):
    """Add weighted slices of `size` elements, `step` apart; a start may lie outside of x."""
    starts = [start for start, _ in terms]
    before = max(0, -min(starts))
    last = (size - 1) * step + 1
    x = _pad(x, axis, before, max(0, max(starts) + last - x.shape[axis]))

    def term(start: int, weight: float) -> Array:
        begin = start + before
        part = lax.slice_in_dim(x, begin, begin + last, step, axis)
        return part * jnp.asarray(weight, x.dtype)

    first, *rest = (term(*pair) for pair in terms)
    return sum(rest, first)


# The transpose of a filter is a filter: that is its gradient, to any order. Differentiating the
# shifted additions instead pads and adds once per tap and costs several times more.


def _filter_axis_forward(x, axis, taps, up, down, pad, size):
    # Only the length of x matters to the transpose; an empty array holds it.
    return _filter_axis(x, axis, taps, up, down, pad, size), jnp.zeros((x.shape[axis], 0))


def _filter_axis_transpose(axis, taps, up, down, pad, size, length, y):
    del size
    flipped_pad = len(taps) - 1 - pad
    return (_filter_axis(y, axis, taps[::-1], down, up, flipped_pad, length.shape[0]),)


_filter_axis.defvjp(_filter_axis_forward, _filter_axis_transpose)


# Convolutions of stride 2


def strided_convolve(x_BxHxWxC: Image, kernel_HxWxIxO: Kernel) -> Image:
    """Convolve with a stride of 2, without padding, as one matrix product of patches."""
    size, outputs = kernel_HxWxIxO.shape[0], kernel_HxWxIxO.shape[3]
    patches = _patches(_patches(x_BxHxWxC, COLUMNS, size), ROWS, size)
    batch, height, width, taps = patches.shape
    products = patches.reshape(batch * height * width, taps) @ kernel_HxWxIxO.reshape(-1, outputs)
    return products.reshape(batch, height, width, outputs)


def _patches(x: Array, axis: int, size: int) -> Array:
    """Windows of `size` items, 2 apart, along an axis; tap by tap in the channels."""
    count = (x.shape[axis] - size) // 2 + 1
    return jnp.concatenate([_every_other(x, axis, tap, count) for tap in range(size)], -1)


def transposed_convolve(x_BxHxWxC: Image, kernel_IxHxWxO: Float[Array, "i h w o"]) -> Image:
    """Transposed convolution of stride 2: one matrix product to all taps, then overlapping sums."""
    batch, height, width, channels = x_BxHxWxC.shape
    size, outputs = kernel_IxHxWxO.shape[1], kernel_IxHxWxO.shape[3]
    products = x_BxHxWxC.reshape(-1, channels) @ kernel_IxHxWxO.reshape(channels, -1)
    products = products.reshape(batch, height, width, size, size, outputs)
    return _overlap(_overlap(products, ROWS, 3), COLUMNS, 3)


def _overlap(x: Array, axis: int, taps_axis: int) -> Array:
    """Add tap t of item i to item 2 i + t of the result, along an axis, and drop the taps' axis."""
    items, size = x.shape[axis], x.shape[taps_axis]
    length = items + (size - 1) // 2
    phases = []
    for phase in (0, 1):
        terms = []
        for tap in range(phase, size, 2):
            part = lax.index_in_dim(x, tap, taps_axis, keepdims=False)
            terms.append(_pad(part, axis, tap // 2, length - items - tap // 2))
        phases.append(sum(terms[1:], terms[0]))
    return lax.slice_in_dim(_interleave(phases, axis), 0, 2 * (items - 1) + size, axis=axis)


# The 3x3 convolution: Winograd's F(2x2, 3x3), Lavin and Gray 2015 (arXiv 1509.09308), section 4.1.
#
# Every 2x2 tile of the output needs a 4x4 tile of the input. Additions and halvings transform both
# tiles and the kernel to where the convolution is 16 products per tile and channel pair instead of
# 36; in float32 the result is as accurate as direct summation. A transformed image is a 4x4 grid of
# arrays [batch, height / 2, width / 2, channels], so that each place of the tile is one matrix
# product over all tiles. Per axis the transforms are the paper's matrices B^T (input), A^T (output)
# and G (kernel).

TILE = range(4)
NARROWEST, WIDE = 32, 128
"""Channels from which on tiles are faster: for values, and for the kernel's gradient as well."""


def suits_winograd(x: Image, kernel: Kernel) -> bool:
    """Tell whether Winograd's form takes these arrays and is faster than the plain one."""
    _, height, width, _ = x.shape
    even = height % 2 == 0 and width % 2 == 0
    large = min(height, width) >= 8 and min(kernel.shape[2:]) >= NARROWEST
    return kernel.shape[:2] == (3, 3) and even and large and x.dtype == jnp.float32


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


def _grid(x: Array, places: range) -> list[list[Array]]:
    """Pixels at every place of the tiles, 2 apart, as a grid of arrays."""
    height, width = ((side - len(places)) // 2 + 1 for side in x.shape[1:3])
    rows = [_every_other(x, ROWS, i, height) for i in places]
    return [[_every_other(row, COLUMNS, j, width) for j in places] for row in rows]


def _transform_input(x: Image) -> list[list[Array]]:
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return _both_axes(_input_axis, _grid(padded, TILE))


def _transform_output(products: list[list[Array]]) -> Image:
    rows = [jnp.stack(row, 3) for row in _both_axes(_output_axis, products)]
    y = jnp.stack(rows, 2)
    batch, height, _, width, _, channels = y.shape
    return y.reshape(batch, 2 * height, 2 * width, channels)


def _transform_output_transpose(y: Image) -> list[list[Array]]:
    return _both_axes(_output_axis_transpose, _grid(y, range(2)))


@jax.custom_vjp
@jax.jit  # traced once for each shape
def winograd_convolve(x_BxHxWxI: Image, kernel_3x3xIxO: Kernel) -> Image:
    """Convolve with zero padding; height and width must be even."""
    tiles = _transform_input(x_BxHxWxI)
    kernels = _both_axes(_kernel_axis, list(kernel_3x3xIxO))
    products = [[tiles[i][j] @ kernels[i][j] for j in TILE] for i in TILE]
    return _transform_output(products)


@jax.custom_vjp
@jax.jit
def _kernel_gradient(x_BxHxWxI: Image, y_BxHxWxO: Image) -> Kernel:
    """Sum over images and positions of y times the pixels of x that each kernel place meets."""
    channels = x_BxHxWxI.shape[-1], y_BxHxWxO.shape[-1]
    if min(channels) < WIDE:

        def plain(kernel: Kernel) -> Image:
            return lax.conv_general_dilated(
                x_BxHxWxI, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT
            )

        axes = mapped_axes.varying(x_BxHxWxI, y_BxHxWxO)
        zero = mapped_axes.zeros((3, 3, *channels), jnp.float32, axes)
        return jax.vjp(plain, zero)[1](y_BxHxWxO)[0]
    tiles, others = _transform_input(x_BxHxWxI), _transform_output_transpose(y_BxHxWxO)
    products = [[_sum_of_outer_products(tiles[i][j], others[i][j]) for j in TILE] for i in TILE]
    return jnp.stack([jnp.stack(row) for row in _both_axes(_kernel_axis_transpose, products)])


def _sum_of_outer_products(x: Image, y: Image) -> Array:
    """Flat, as XLA would transpose x before a sum over several axes, slower than the product."""
    return x.reshape(-1, x.shape[-1]).T @ y.reshape(-1, y.shape[-1])


def _turned(kernel_3x3xIxO: Kernel) -> Kernel:
    """Kernel of the transposed convolution."""
    return jnp.swapaxes(kernel_3x3xIxO[::-1, ::-1], 2, 3)


def _gradients(
    of_first: Callable[[Array, Array], Array], of_second: Callable[[Array, Array], Array]
) -> Callable[..., tuple[Array, Array]]:
    """Return the gradients of both arguments, by functions of the other one and the cotangent."""

    def backward(saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
        first, second = saved
        return (
            mapped_axes.summed_for(first, of_first(second, cotangent)),
            mapped_axes.summed_for(second, of_second(first, cotangent)),
        )

    return backward


# <k, kernel_gradient(x, y)> = <y, convolve(x, k)> for all x, y and k: the gradients of either
# function are the other one and itself, to any order.
winograd_convolve.defvjp(
    lambda x, kernel: (winograd_convolve(x, kernel), (x, kernel)),
    _gradients(lambda kernel, y: winograd_convolve(y, _turned(kernel)), _kernel_gradient),
)
_kernel_gradient.defvjp(
    lambda x, y: (_kernel_gradient(x, y), (x, y)),
    _gradients(lambda y, k: winograd_convolve(y, _turned(k)), winograd_convolve),
)
