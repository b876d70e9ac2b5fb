"""Layers with spectral normalization: their kernels have a largest singular value of 1.

Miyato et al. 2018 (arXiv 1802.05957), section 2.1 and algorithm 1. A singular vector is in the
collection "batch_stats"; one step of power iteration moves it in each call that trains.
Flax's `SpectralNorm` computes the same, but its names contain the "/" that separates names in
exports.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from ganformer_jax.nn import resample
from ganformer_jax.nn.initialize import normal, uniform
from ganformer_jax.nn.layers import add_float32

if TYPE_CHECKING:
    from jaxtyping import Array, Float

EPSILON = 1e-12


def glorot(module: nn.Module, shape: tuple[int, ...]) -> Float[Array, "*kernel o"]:
    """Return the parameter `kernel` of a layer, initially uniform (Glorot and Bengio 2010)."""
    places = math.prod(shape[:-2])
    limit = math.sqrt(6.0 / (places * (shape[-2] + shape[-1])))
    return module.param("kernel", uniform(limit), shape)


def spectral_normalize(
    module: nn.Module, kernel: Float[Array, "*kernel o"], train: bool
) -> Float[Array, "*kernel o"]:
    """Divide a kernel by its largest singular value, as a matrix whose columns are outputs.

    Args:
        module: Has the estimate of the singular vector as its variable `u`.
        kernel: The last axis is that of the outputs.
        train: Store the vector that the step of power iteration makes.
    """
    matrix_IxO = kernel.reshape(-1, kernel.shape[-1])
    u = module.variable(
        "batch_stats", "u", lambda: normal()(module.make_rng("params"), (matrix_IxO.shape[1],))
    )
    fixed_IxO = lax.stop_gradient(matrix_IxO)
    v_I = _unit(fixed_IxO @ u.value)
    u_O = _unit(v_I @ fixed_IxO)
    if train and module.is_mutable_collection("batch_stats"):
        u.value = u_O
    sigma = v_I @ matrix_IxO @ u_O  # equation 6: v and u are constants of the gradient
    return kernel / sigma


def _unit(x_D: Float[Array, " d"]) -> Float[Array, " d"]:
    return x_D / (jnp.linalg.norm(x_D) + EPSILON)


class SpectralConvolution(nn.Module):
    """Convolution of zero-padded images, of the same height and width.

    Attributes:
        features: Output channels.
        size: Height and width of the kernel, odd.
        use_bias: Add a bias per channel.
    """

    features: int
    size: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w o"]:
        """Apply the layer in the type of x."""
        kernel = glorot(self, (self.size, self.size, x.shape[-1], self.features))
        kernel = spectral_normalize(self, kernel, train).astype(x.dtype)
        x = resample.convolve(x, kernel)
        if self.use_bias:
            bias_C = self.param("bias", nn.initializers.zeros, (self.features,))
            x = add_float32(x, bias_C[None, None, None])
        return x


class SpectralDense(nn.Module):
    """Dense layer over the last axis.

    Attributes:
        features: Width of the output.
        use_bias: Add a bias.
    """

    features: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b i"], train: bool) -> Float[Array, "b o"]:
        """Apply the layer in the type of x, which must be floating point."""
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise TypeError(f"a dense layer of {x.dtype}: convert it to floating point")
        kernel = glorot(self, (x.shape[-1], self.features))
        x = x @ spectral_normalize(self, kernel, train).astype(x.dtype)
        if self.use_bias:
            bias_O = self.param("bias", nn.initializers.zeros, (self.features,))
            x = add_float32(x, bias_O[None])
        return x
