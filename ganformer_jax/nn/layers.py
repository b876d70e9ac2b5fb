"""Equalized dense and convolution layers, modulation, noise, minibatch standard deviation.

Weights are stored at unit variance and scaled when used, so that Adam moves all layers at one
relative speed (equalized learning rate, arXiv 1710.10196, section 4.1). All images are NHWC.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganformer_jax.nn import resample
from ganformer_jax.nn.initialize import normal
from ganformer_jax.nn.microbatch import FULL_BATCH, Microbatch

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int

EPSILON = 1e-8
Resampling = Literal["none", "up", "down"]


def leaky_relu(x: Float[Array, "*batch"], gain: float = 1.0) -> Float[Array, "*batch"]:
    """Apply a leaky ReLU of slope 0.2, times sqrt(2) to keep the variance, times `gain`."""
    return nn.leaky_relu(x, 0.2) * jnp.asarray(math.sqrt(2.0) * gain, x.dtype)


def clamp(x: Float[Array, "*batch"], largest: float | None) -> Float[Array, "*batch"]:
    """Clip x to magnitudes of at most `largest`; None for no limit."""
    return x if largest is None else jnp.clip(x, -largest, largest)


def rms_normalize(
    x: Float[Array, "*batch"], axes: int | Sequence[int] = -1
) -> Float[Array, "*batch"]:
    """Scale to a mean square of 1 over `axes`."""
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axes, keepdims=True) + EPSILON)


class EqualizedDense(nn.Module):
    """Dense layer over the last axis, with equalized learning rate.

    Attributes:
        features: Width of the output.
        activation: Apply `leaky_relu`.
        gain: Gain of the weights.
        learning_rate_multiplier: Learning rate relative to other layers.
        bias_init: Initial bias, as it is stored.
        use_bias: Have a bias at all.
    """

    features: int
    activation: bool = False
    gain: float = 1.0
    learning_rate_multiplier: float = 1.0
    bias_init: float = 0.0
    use_bias: bool = True

    @nn.compact
    def weights(self, width: int) -> tuple[Float[Array, "i o"], Float[Array, " o"]]:
        """Return kernel [I, O] and bias [O], scaled for use."""
        multiplier = self.learning_rate_multiplier
        kernel_init = normal(1.0 / multiplier)
        kernel = self.param("kernel", kernel_init, (width, self.features))
        bias = jnp.zeros((self.features,))
        if self.use_bias:
            bias = self.param("bias", nn.initializers.constant(self.bias_init), (self.features,))
        return kernel * (multiplier * self.gain / math.sqrt(width)), bias * multiplier

    def __call__(self, x: Float[Array, "*batch i"]) -> Float[Array, "*batch o"]:
        """Apply the layer in the type of x, which must be floating point."""
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise TypeError(f"a dense layer of {x.dtype}: convert it to floating point")
        kernel, bias = self.weights(x.shape[-1])
        y = x @ kernel.astype(x.dtype)
        y = y + jnp.expand_dims(bias.astype(x.dtype), tuple(range(y.ndim - 1)))
        return leaky_relu(y) if self.activation else y


# Float32 values are added to and multiplied with bfloat16 activations in float32, so that their
# gradients, which are sums over pixels, are float32 sums.


def add_float32(x: Float[Array, "*batch"], y: Array) -> Float[Array, "*batch"]:
    """Return x + y in the type of x, computed in float32; y broadcasts to x."""
    return (x.astype(jnp.float32) + y).astype(x.dtype)


def scale_float32(x: Float[Array, "*batch"], y: Array) -> Float[Array, "*batch"]:
    """Return x * y in the type of x, computed in float32; y broadcasts to x."""
    return (x.astype(jnp.float32) * y).astype(x.dtype)


def _resampling_convolve(x: Array, kernel: Array, resampling: Resampling, taps) -> Array:
    if resampling == "up":
        return resample.upsample_convolve(x, kernel, taps)
    if resampling == "down":
        return resample.convolve_downsample(x, kernel, taps)
    return resample.convolve(x, kernel)


class EqualizedConvolution(nn.Module):
    """Convolution with equalized learning rate and optional change of resolution.

    Attributes:
        features: Output channels.
        size: Height and width of the kernel, odd.
        resampling: "none", "up" (doubles the resolution) or "down" (halves it).
        use_bias: Add a bias per channel.
        activation: Apply `leaky_relu`.
        gain: Gain after the activation.
        taps: Low-pass filter of the resampling.
        clamp: Largest magnitude of the result, before `gain`; None for no limit.
    """

    features: int
    size: int
    resampling: Resampling = "none"
    use_bias: bool = True
    activation: bool = False
    gain: float = 1.0
    taps: Sequence[int] = (1, 3, 3, 1)
    clamp: float | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Apply the layer in the type of x."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", normal(), shape)
        kernel = kernel * (1.0 / math.sqrt(math.prod(shape[:3])))
        x = _resampling_convolve(x, kernel.astype(x.dtype), self.resampling, self.taps)
        if self.use_bias:
            bias_C = self.param("bias", nn.initializers.zeros, (self.features,))
            x = add_float32(x, bias_C[None, None, None])
        if self.activation:
            x = leaky_relu(x, self.gain)
        elif self.gain != 1.0:
            x = x * jnp.asarray(self.gain, x.dtype)
        return x if self.clamp is None else clamp(x, self.clamp * self.gain)


class ModulatedConvolution(nn.Module):
    """Convolution whose input channels are scaled per image by a style (arXiv 1912.04958, 2.2).

    Scaling activations before, and demodulating after, one ordinary convolution equals scaling
    each image's weights (eqs. 1 to 3) and keeps the batch whole.

    Attributes:
        features: Output channels.
        size: Height and width of the kernel, odd.
        resampling: "none" or "up".
        style: Modulate; without it this is an ordinary convolution.
        demodulate: Scale outputs back to unit variance.
        taps: Low-pass filter of the upsampling.
        convolve: Convolve; without it only scales, for what demodulation takes the kernel to be,
            and resamples, where local attention stands in for the convolution.
    """

    features: int
    size: int
    resampling: Resampling = "none"
    style: bool = True
    demodulate: bool = True
    taps: Sequence[int] = (1, 3, 3, 1)
    convolve: bool = True

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], w_BxD: Float[Array, "b d"]
    ) -> Float[Array, "b h2 w2 o"]:
        """Convolve x, modulated by the global latent w."""
        if not (self.style or self.convolve):
            return self._resample(x)
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", normal(), shape)
        kernel = kernel * (1.0 / math.sqrt(math.prod(shape[:3])))
        if not self.style:
            return _resampling_convolve(x, kernel.astype(x.dtype), self.resampling, self.taps)
        style_BxC = EqualizedDense(x.shape[-1], bias_init=1.0, name="style")(w_BxD)
        x = scale_float32(x, style_BxC[:, None, None])
        if self.convolve:
            x = _resampling_convolve(x, kernel.astype(x.dtype), self.resampling, self.taps)
        else:
            x = self._resample(x)
        if not self.demodulate:
            return x
        power_BxO = jnp.square(style_BxC) @ jnp.sum(jnp.square(kernel), (0, 1))
        return scale_float32(x, jax.lax.rsqrt(power_BxO + EPSILON)[:, None, None])

    def _resample(self, x: Array) -> Array:
        return resample.upsample(x, self.taps) if self.resampling == "up" else x


class Noise(nn.Module):
    """One noise value per pixel, the same for all channels, times a learned strength.

    Attributes:
        images: Images of each row of the batch that follow one another along its axis: k-GAN's.
        shared: These have the same fixed noise.
    """

    images: int = 1
    shared: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        mode: str,
        seeds_B: Int[Array, " b"] | None = None,
        microbatch: Microbatch = FULL_BATCH,
    ) -> Float[Array, "b h w c"]:
        """Add noise: "random" (from the "noise" stream), "const" (fixed at init) or "none".

        Fixed noise is [H, W], or [K, H, W] of K images that do not share it; with an axis B before
        these, each image of the batch has its own.
        Random noise is drawn for the full batch, of which x is `microbatch`; given seeds, for each
        image by its own.
        """
        batch, height, width, _ = x.shape
        own = (self.images,) if self.images > 1 and not self.shared else ()
        strength = self.param("strength", nn.initializers.zeros, ())
        fixed = self.variable(
            "constants",
            "noise",
            lambda: normal()(self.make_rng("params"), (*own, height, width)),
        )
        if mode == "none":
            return x
        if mode == "const":
            noise = fixed.value.reshape(-1, height, width, 1)
            if own:
                rows_of_K = (batch // noise.shape[0], *noise.shape)
                noise = jnp.broadcast_to(noise[None], rows_of_K).reshape(batch, height, width, 1)
            elif fixed.value.ndim == 3:
                noise = jnp.repeat(noise, self.images, 0)
        else:
            several = (self.images,) if self.images > 1 else ()
            shape = (batch // self.images, *several, height, width, 1)
            noise = self._draw(shape, seeds_B, microbatch).reshape(batch, height, width, 1)
        # By channel, so that on TPUs the gradient is summed where those of other layers are: a sum
        # over channels first would be one more pass over memory.
        strength_C = jnp.broadcast_to(strength, x.shape[-1:])
        return add_float32(x, strength_C[None, None, None] * noise)

    def _draw(self, shape: tuple[int, ...], seeds_B: Array | None, microbatch: Microbatch) -> Array:
        key = self.make_rng("noise")
        if seeds_B is None:
            return microbatch.draw(functools.partial(jax.random.normal, key), shape)
        return jax.vmap(lambda seed: jax.random.normal(jax.random.fold_in(key, seed), shape[1:]))(
            seeds_B
        )


class Dropout(nn.Module):
    """Dropout from the "dropout" stream, drawn for the full batch.

    It is bit for bit that of `flax.linen.Dropout`.

    Attributes:
        rate: Probability of a zero, from 0 to below 1.
        broadcast_axes: Axes along which all values share one draw.
    """

    rate: float
    broadcast_axes: Sequence[int] = ()

    @nn.compact
    def __call__(
        self, x: Float[Array, "b ..."], microbatch: Microbatch = FULL_BATCH
    ) -> Float[Array, "b ..."]:
        """Return x, a `microbatch`, with zeros, and scaled to keep the mean."""
        if self.rate == 0.0:
            return x
        kept, key = 1.0 - self.rate, self.make_rng("dropout")
        shape = tuple(1 if i in self.broadcast_axes else size for i, size in enumerate(x.shape))
        mask = microbatch.draw(functools.partial(jax.random.bernoulli, key, kept), shape)
        return jax.lax.select(jnp.broadcast_to(mask, x.shape), x / kept, jnp.zeros_like(x))


def minibatch_stddev(
    x_BxHxWxC: Float[Array, "b h w c"], group: int, channels: int = 1
) -> Float[Array, "b h w c2"]:
    """Append the standard deviation within groups of images (arXiv 1710.10196, section 3).

    Group g holds images g, g + B/group, g + 2 B/group and so on; a smaller batch is one group.

    Args:
        x_BxHxWxC: Features.
        group: Images per group.
        channels: Channels to append.

    Returns:
        Features with the appended channels.

    Raises:
        ValueError: The batch is not a multiple of the group, or C of the channels.
    """
    batch, height, width, features = x_BxHxWxC.shape
    group = max(min(group, batch), 1)
    if batch % group or features % channels:
        raise ValueError(
            f"minibatch stddev needs a batch ({batch}) that its group ({group}) divides and "
            f"channels ({features}) that its output channels ({channels}) divide"
        )
    y = x_BxHxWxC.astype(jnp.float32).reshape(
        group, batch // group, height, width, channels, features // channels
    )
    variance = jnp.var(y, axis=0)
    stddev = jnp.sqrt(variance + EPSILON).mean((1, 2, 4))
    appended = jnp.tile(stddev, (group, 1))[:, None, None]
    appended = jnp.broadcast_to(appended, (batch, height, width, channels))
    return jnp.concatenate([x_BxHxWxC, appended.astype(x_BxHxWxC.dtype)], -1)
