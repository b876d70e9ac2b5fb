"""FIR up- and downsampling of NHWC images, alone and joined with a convolution.

The filters follow StyleGAN2 (arXiv 1912.04958, appendix B, after Zhang 2019, arXiv 1904.11486):
a short separable low-pass filter removes what a change of resolution would alias. Each filter
is a few shifted additions per axis, split into two phases where the resolution changes.

Filtering is linear, and its transpose is a filtering of the same family, so that is what
its gradient is defined to be, to any order. Plain differentiation of shifted additions pads and
adds once per tap and costs several times more.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import lax

from ganformer_jax.nn import winograd

if TYPE_CHECKING:
    from jaxtyping import Array, Float

ROWS, COLUMNS = 1, 2


def _normalized(taps: Sequence[float], gain: float) -> tuple[float, ...]:
    total = float(sum(taps))
    return tuple(float(tap) * gain / total for tap in taps)


def _shifted_sum(x: Array, terms: list[tuple[int, float]], axis: int, size: int, step: int):
    """Sum of weighted slices of `size` elements, `step` apart, from possibly outside starts."""
    starts = [start for start, _ in terms]
    before = max(0, -min(starts))
    after = max(0, max(starts) + (size - 1) * step + 1 - x.shape[axis])
    padding = [(0, 0, 0)] * x.ndim
    padding[axis] = (before, after, 0)
    x = lax.pad(x, jnp.zeros((), x.dtype), padding)

    def part(start: int) -> Array:
        begin = start + before
        return lax.slice_in_dim(x, begin, begin + (size - 1) * step + 1, step, axis)

    first, *rest = (part(start) * jnp.asarray(weight, x.dtype) for start, weight in terms)
    return sum(rest, first)


_STATIC = (1, 2, 3, 4, 5, 6)


@functools.partial(jax.custom_vjp, nondiff_argnums=_STATIC)
@functools.partial(jax.jit, static_argnums=_STATIC)  # traced once for each shape
def _filter_axis(
    x: Array, axis: int, taps: tuple[float, ...], up: int, down: int, pad: int, size: int
) -> Array:
    """`y[o] = sum_t taps[t] z[o * down + t - pad]`, z being x with up - 1 zeros after each item.

    One of `up` and `down` is 1 and the other 1 or 2; `size` is the length of y.
    """
    if up == 1:
        terms = [(t - pad, tap) for t, tap in enumerate(taps)]
        return _shifted_sum(x, terms, axis, size, down)
    phases = []
    for phase in range(up):
        reached = [(t, tap) for t, tap in enumerate(taps) if (phase + t - pad) % up == 0]
        terms = [((phase + t - pad) // up, tap) for t, tap in reached]
        phases.append(_shifted_sum(x, terms, axis, -(-size // up), 1))
    y = jnp.stack(phases, axis + 1)
    y = y.reshape(*y.shape[:axis], -1, *y.shape[axis + 2 :])
    return lax.slice_in_dim(y, 0, size, axis=axis)


def _filter_axis_forward(x, axis, taps, up, down, pad, size):
    # Only the length of x matters to the transpose; an empty array carries it.
    return _filter_axis(x, axis, taps, up, down, pad, size), jnp.zeros((x.shape[axis], 0))


def _filter_axis_transpose(axis, taps, up, down, pad, size, length, y):
    del size
    flipped_pad = len(taps) - 1 - pad
    return (_filter_axis(y, axis, taps[::-1], down, up, flipped_pad, length.shape[0]),)


_filter_axis.defvjp(_filter_axis_forward, _filter_axis_transpose)


def _filter(
    x: Array, taps: Sequence[float], gain: float, pad: tuple[int, int], up: int = 1, down: int = 1
) -> Array:
    """Filter rows and columns; `pad` is before and after, in the upsampled grid."""
    per_axis = _normalized(taps, gain)
    for axis in (ROWS, COLUMNS):
        size = (x.shape[axis] * up + sum(pad) - len(per_axis)) // down + 1
        x = _filter_axis(x, axis, per_axis, up, down, pad[0], size)
    return x


def transposed_by_dilation(x_BxHxWxC: Array, kernel_HxWxIxO: Array) -> Array:
    """Transposed convolution of stride 2 as a convolution of x with zeros between its pixels."""
    reach = kernel_HxWxIxO.shape[0] - 1
    return lax.conv_general_dilated(
        x_BxHxWxC,
        kernel_HxWxIxO[::-1, ::-1],
        (1, 1),
        [(reach, reach)] * 2,
        lhs_dilation=(2, 2),
        dimension_numbers=winograd.LAYOUT,
    )


def transposed_by_matmul(x_BxHxWxC: Array, kernel_HxWxIxO: Array) -> Array:
    """The same sums as one matrix product to all kernel positions, then an overlapping addition."""
    batch, height, width, channels = x_BxHxWxC.shape
    size, outputs = kernel_HxWxIxO.shape[0], kernel_HxWxIxO.shape[3]
    kernel_IxHWO = jnp.moveaxis(kernel_HxWxIxO, 2, 0).reshape(channels, -1)
    products = x_BxHxWxC.reshape(-1, channels) @ kernel_IxHWO
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
            padding = [(0, 0, 0)] * part.ndim
            padding[axis] = (tap // 2, length - items - tap // 2, 0)
            terms.append(lax.pad(part, jnp.zeros((), x.dtype), padding))
        phases.append(sum(terms[1:], terms[0]))
    y = jnp.stack(phases, axis + 1)
    y = y.reshape(*y.shape[:axis], 2 * length, *y.shape[axis + 2 :])
    return lax.slice_in_dim(y, 0, 2 * (items - 1) + size, axis=axis)


def transposed_convolve(
    x_BxHxWxC: Float[Array, "b h w c"], kernel_HxWxIxO: Float[Array, "k k c o"]
) -> Float[Array, "b 2*h+k-2 2*w+k-2 o"]:
    """Input pixel i adds `kernel[a]` times itself to output 2 i + a.

    XLA's CPU backend takes ten times as long for the weight gradient of a dilated convolution as
    for that of a matrix product (docs/performance.md); accelerators have it in hardware.
    """
    if jax.default_backend() == "cpu":
        return transposed_by_matmul(x_BxHxWxC, kernel_HxWxIxO)
    return transposed_by_dilation(x_BxHxWxC, kernel_HxWxIxO)


def strided_by_convolution(x_BxHxWxC: Array, kernel_HxWxIxO: Array) -> Array:
    """Convolution of stride 2 without padding."""
    return lax.conv_general_dilated(
        x_BxHxWxC, kernel_HxWxIxO, (2, 2), "VALID", dimension_numbers=winograd.LAYOUT
    )


def strided_by_matmul(x_BxHxWxC: Array, kernel_HxWxIxO: Array) -> Array:
    """The same sums as one matrix product of patches."""
    size, outputs = kernel_HxWxIxO.shape[0], kernel_HxWxIxO.shape[3]
    patches = _patches(_patches(x_BxHxWxC, COLUMNS, size), ROWS, size)
    batch, height, width, _ = patches.shape
    products = patches.reshape(batch * height * width, -1) @ kernel_HxWxIxO.reshape(-1, outputs)
    return products.reshape(batch, height, width, outputs)


def _patches(x: Array, axis: int, size: int) -> Array:
    """Windows of `size` items, 2 apart, along an axis; tap by tap in the channels."""
    items = (x.shape[axis] - size) // 2 + 1
    starts = range(size)
    parts = [lax.slice_in_dim(x, t, t + 2 * items - 1, 2, axis) for t in starts]
    return jnp.concatenate(parts, -1)


def strided_convolve(
    x_BxHxWxC: Float[Array, "b h w c"], kernel_HxWxIxO: Float[Array, "k k c o"]
) -> Float[Array, "b h2 w2 o"]:
    """Convolution of stride 2 without padding; on CPUs as a matrix product, see above.

    Its second derivatives, which R1 takes, hold the weight gradient of a dilated convolution.
    """
    if jax.default_backend() == "cpu":
        return strided_by_matmul(x_BxHxWxC, kernel_HxWxIxO)
    return strided_by_convolution(x_BxHxWxC, kernel_HxWxIxO)


def convolve(
    x_BxHxWxC: Float[Array, "b h w c"], kernel_HxWxIxO: Float[Array, "kh kw c o"]
) -> Float[Array, "b h w o"]:
    """Convolution that keeps the resolution (cross-correlation, as everywhere in this field).

    On CPUs 3x3 kernels are applied with fewer multiplications, see `winograd`.
    """
    if jax.default_backend() == "cpu" and winograd.suits(x_BxHxWxC, kernel_HxWxIxO):
        return winograd.convolve(x_BxHxWxC, kernel_HxWxIxO)
    return winograd.direct(x_BxHxWxC, kernel_HxWxIxO)


def upsample(
    x_BxHxWxC: Float[Array, "b h w c"], taps: Sequence[float]
) -> Float[Array, "b 2*h 2*w c"]:
    """Double the resolution: zeros in between, then the low-pass filter with gain 4."""
    reach = len(taps) - 2
    return _filter(x_BxHxWxC, taps, 2.0, ((reach + 3) // 2, reach // 2), up=2)


def downsample(
    x_BxHxWxC: Float[Array, "b 2*h 2*w c"], taps: Sequence[float]
) -> Float[Array, "b h w c"]:
    """Halve the resolution: the low-pass filter, then every other pixel."""
    reach = len(taps) - 2
    return _filter(x_BxHxWxC, taps, 1.0, ((reach + 1) // 2, reach // 2), down=2)


def upsample_convolve(
    x_BxHxWxC: Float[Array, "b h w c"],
    kernel_HxWxIxO: Float[Array, "k k c o"],
    taps: Sequence[float],
) -> Float[Array, "b 2*h 2*w o"]:
    """Double the resolution while convolving: a transposed convolution, then the filter.

    A 1x1 kernel is applied before upsampling, where it is cheaper.
    """
    size = kernel_HxWxIxO.shape[0]
    if size == 1:
        return upsample(convolve(x_BxHxWxC, kernel_HxWxIxO), taps)
    spread = transposed_convolve(x_BxHxWxC, kernel_HxWxIxO)
    reach, center = len(taps) - 2, size // 2
    before, after = (reach + 3) // 2 + center - (size - 1), reach // 2 + center - (size - 2)
    return _filter(spread, taps, 2.0, (before, after))


def convolve_downsample(
    x_BxHxWxC: Float[Array, "b 2*h 2*w c"],
    kernel_HxWxIxO: Float[Array, "k k c o"],
    taps: Sequence[float],
) -> Float[Array, "b h w o"]:
    """Halve the resolution while convolving: the filter, then a convolution of stride 2.

    A 1x1 kernel is applied after downsampling, where it is cheaper.
    """
    size = kernel_HxWxIxO.shape[0]
    if size == 1:
        return convolve(downsample(x_BxHxWxC, taps), kernel_HxWxIxO)
    reach, center = len(taps) - 2, size // 2
    filtered = _filter(x_BxHxWxC, taps, 1.0, ((reach + 1) // 2 + center, reach // 2 + center))
    return strided_convolve(filtered, kernel_HxWxIxO)
