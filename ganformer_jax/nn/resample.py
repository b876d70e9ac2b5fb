"""FIR up- and downsampling of NHWC images, alone and joined with a convolution.

The filters follow StyleGAN2 (arXiv 1912.04958, appendix B, after Zhang 2019, arXiv 1904.11486):
a short separable low-pass filter removes what a change of resolution would alias.

The plain forms here are XLA convolutions. TPUs have all of them in hardware; GPUs filter as CPUs do
(docs/notes/gpu.md). The forms of CPUs are in `cpu`; docs/performance.md has their times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jax import lax

from ganformer_jax.nn import cpu
from ganformer_jax.nn.platforms import by_platform

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    Image = Float[Array, "b h w c"]
    Kernel = Float[Array, "h w i o"]
    Taps = Sequence[float]


def plain_filter(
    x_BxHxWxC: Image, *, taps: tuple[float, ...], pad: tuple[int, int], up: int, down: int
) -> Image:
    """Filter rows and columns with one depthwise convolution.

    `y[o] = sum_t taps[t] z[o * down + t - pad[0]]` along either axis, where z is x with `up - 1`
    zeros after each pixel.
    """
    channels = x_BxHxWxC.shape[-1]
    kernel_HxW = jnp.asarray(np.outer(taps, taps), x_BxHxWxC.dtype)
    return lax.conv_general_dilated(
        x_BxHxWxC,
        jnp.broadcast_to(kernel_HxW[:, :, None, None], (*kernel_HxW.shape, 1, channels)),
        (down, down),
        [(pad[0], pad[1] + up - 1)] * 2,  # the dilation puts no zeros after the last pixel
        lhs_dilation=(up, up),
        dimension_numbers=cpu.LAYOUT,
        feature_group_count=channels,
    )


def plain_convolve(x_BxHxWxC: Image, kernel_HxWxIxO: Kernel) -> Image:
    """Convolve with zero padding that keeps the resolution."""
    return lax.conv_general_dilated(
        x_BxHxWxC, kernel_HxWxIxO, (1, 1), "SAME", dimension_numbers=cpu.LAYOUT
    )


def plain_strided_convolve(x_BxHxWxC: Image, kernel_HxWxIxO: Kernel) -> Image:
    """Convolve with a stride of 2, without padding."""
    return lax.conv_general_dilated(
        x_BxHxWxC, kernel_HxWxIxO, (2, 2), "VALID", dimension_numbers=cpu.LAYOUT
    )


def plain_transposed_convolve(x_BxHxWxC: Image, kernel_IxHxWxO: Float[Array, "i h w o"]) -> Image:
    """Add `kernel[a]` times input pixel i to output pixel 2 i + a."""
    reach = kernel_IxHxWxO.shape[1] - 1
    return lax.conv_general_dilated(
        x_BxHxWxC,
        kernel_IxHxWxO[:, ::-1, ::-1],
        (1, 1),
        [(reach, reach)] * 2,
        lhs_dilation=(2, 2),
        dimension_numbers=("NHWC", "IHWO", "NHWC"),
    )


def _filter(
    x: Image, taps: Taps, gain: float, pad: tuple[int, int], up: int = 1, down: int = 1
) -> Image:
    """Filter with taps that sum to `gain` along either axis."""
    if len(taps) == 1:  # doubling leaves a single tap no input pixel at every other output pixel
        taps, pad = (0, *taps, 0), (pad[0] + 1, pad[1] + 1)
    total = float(sum(taps))
    scaled = tuple(float(tap) * gain / total for tap in taps)
    static = {"taps": scaled, "pad": pad, "up": up, "down": down}
    return by_platform(cpu.shifted_filter, x, tpu=plain_filter, **static)


def convolve(x_BxHxWxC: Image, kernel_HxWxIxO: Kernel) -> Float[Array, "b h w o"]:
    """Convolve, keeping the resolution (cross-correlation, as everywhere in this field)."""
    if cpu.suits_winograd(x_BxHxWxC, kernel_HxWxIxO):
        return by_platform(plain_convolve, x_BxHxWxC, kernel_HxWxIxO, cpu=cpu.winograd_convolve)
    return plain_convolve(x_BxHxWxC, kernel_HxWxIxO)


def strided_convolve(x_BxHxWxC: Image, kernel_HxWxIxO: Kernel) -> Float[Array, "b h2 w2 o"]:
    """Convolve with a stride of 2, without padding."""
    return by_platform(plain_strided_convolve, x_BxHxWxC, kernel_HxWxIxO, cpu=cpu.strided_convolve)


def transposed_convolve(x_BxHxWxC: Image, kernel_HxWxIxO: Kernel) -> Float[Array, "b h2 w2 o"]:
    """Add `kernel[a]` times input pixel i to output pixel 2 i + a, without cropping."""
    kernel_IxHxWxO = jnp.moveaxis(kernel_HxWxIxO, 2, 0)
    return by_platform(
        plain_transposed_convolve, x_BxHxWxC, kernel_IxHxWxO, cpu=cpu.transposed_convolve
    )


def upsample(x_BxHxWxC: Image, taps: Taps) -> Float[Array, "b 2*h 2*w c"]:
    """Double the resolution: zeros in between, then the low-pass filter with gain 4."""
    reach = len(taps) - 2
    return _filter(x_BxHxWxC, taps, 2.0, ((reach + 3) // 2, reach // 2), up=2)


def downsample(x_BxHxWxC: Float[Array, "b 2*h 2*w c"], taps: Taps) -> Image:
    """Halve the resolution: the low-pass filter, then every other pixel."""
    reach = len(taps) - 2
    return _filter(x_BxHxWxC, taps, 1.0, ((reach + 1) // 2, reach // 2), down=2)


def upsample_convolve(
    x_BxHxWxC: Image, kernel_HxWxIxO: Kernel, taps: Taps
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
    x_BxHxWxC: Float[Array, "b 2*h 2*w c"], kernel_HxWxIxO: Kernel, taps: Taps
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
