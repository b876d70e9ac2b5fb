"""A convolution whose padding is chosen: by reflection or zeros (arXiv 1703.10593, section 7.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from ganformer_jax.nn import cpu, resample
from ganformer_jax.nn.initialize import normal
from ganformer_jax.nn.layers import add_float32

if TYPE_CHECKING:
    from jaxtyping import Array, Float

DEVIATION = 0.02
"""Standard deviation of initial weights."""


class PaddedConvolution(nn.Module):
    """Convolution with a bias, initially 0; odd kernels keep the image's size by reflection.

    Attributes:
        features: Output channels.
        size: Height and width of the kernel.
        resampling: "none"; "up", 3x3 transposed, doubles the resolution; "down" halves it, with
            zeros around the image.
        padding: Pixels around the image before a convolution that does not resample.
        mode: Values of these pixels: "reflect" or "constant", zeros.
    """

    features: int
    size: int
    resampling: str = "none"
    padding: int = 0
    mode: str = "reflect"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Apply the layer in the type of x."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", normal(DEVIATION), shape).astype(x.dtype)
        if self.resampling == "up":
            x = resample.transposed_convolve(x, kernel)[:, 1:, 1:]
        elif self.resampling == "down":
            x = resample.strided_convolve(_pad(x, 1, "constant"), kernel)
        else:
            x = _convolve(_pad(x, self.padding, self.mode), kernel)
        bias_O = self.param("bias", nn.initializers.zeros, (self.features,))
        return add_float32(x, bias_O[None, None, None])


def _pad(x: Array, width: int, mode: str) -> Array:
    around = (width, width)
    return jnp.pad(x, ((0, 0), around, around, (0, 0)), mode=mode) if width else x


def _convolve(x: Array, kernel: Array) -> Array:
    """Convolve without padding."""
    if kernel.shape[0] == 3:
        return resample.convolve(x, kernel)[:, 1:-1, 1:-1]
    return lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=cpu.LAYOUT)
