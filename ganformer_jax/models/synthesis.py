"""Synthesis network: w to an image, growing its first grid while components attend to it.

Every layer is a (modulated) convolution, bipartite attention where the resolution is in range,
noise, bias and activation (arXiv 2103.01209, section 3.2, figure 4). Without components this is
the synthesis network of StyleGAN2 (arXiv 1912.04958).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import flax.linen as nn
import jax.numpy as jnp

from ganformer_jax.config import GeneratorConfig
from ganformer_jax.models.attention_layer import AttentionLayer, Call, Carried
from ganformer_jax.nn import resample
from ganformer_jax.nn.layers import (
    EqualizedConvolution,
    EqualizedDense,
    ModulatedConvolution,
    Noise,
    leaky_relu,
)

if TYPE_CHECKING:
    from jaxtyping import Array, Float

RESIDUAL_GAIN = math.sqrt(0.5)


def num_layers(config: GeneratorConfig) -> int:
    """Latents a synthesis network reads per component: one a convolution, stem and RGB layer."""
    blocks = len(config.resolutions)
    stem = config.synthesis.stem != "constant"
    return 2 * blocks - 1 + stem + config.synthesis.last_convolution + 1


class SynthesisLayer(nn.Module):
    """Convolution, attention, noise, bias and activation at one resolution.

    Attributes:
        config: The generator.
        resolution: Longer side of the output.
        upsample: Double the resolution.
        gain: Gain after the activation.
    """

    config: GeneratorConfig
    resolution: int
    upsample: bool = False
    gain: float = 1.0

    @nn.compact
    def __call__(
        self, x: Array, w_BxKxW: Array, carried: Carried, call: Call
    ) -> tuple[Array, Array | None, Carried]:
        """Image features, attention maps (None out of range), and what the next layer needs."""
        config, synthesis = self.config, self.config.synthesis
        channels = synthesis.channels_at(self.resolution)
        x = ModulatedConvolution(
            channels,
            3,
            resampling="up" if self.upsample else "none",
            style=synthesis.style,
            taps=synthesis.resample_filter,
            name="convolution",
        )(x, w_BxKxW[:, -1])
        maps = None
        if self.resolution in config.attended_resolutions:
            components = carried.components_BxTxW
            components = w_BxKxW[:, :-1] if components is None else components
            x, maps, carried = AttentionLayer(config, name="attention")(
                x, components, carried, call
            )
        else:
            carried = carried._replace(components_BxTxW=None)
        if synthesis.noise:
            x = Noise(name="noise")(x, call.noise, call.noise_seeds_B)
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        x = leaky_relu(x + bias.astype(x.dtype)[None, None, None], self.gain)
        return x, maps, carried


class Stem(nn.Module):
    """The first grid, such as 4x4: learned, or mapped from the global latent as in a plain GAN."""

    config: GeneratorConfig

    @nn.compact
    def __call__(self, w_BxW: Array, call: Call) -> Float[Array, "b h w c"]:
        """The grid for every image of the batch."""
        synthesis = self.config.synthesis
        grid = self.config.base_grid
        channels = synthesis.channels_at(max(grid))
        shape = (*grid, channels)
        if synthesis.stem == "constant":
            constant = self.param("constant", nn.initializers.normal(1.0), shape)
            return jnp.broadcast_to(constant, (w_BxW.shape[0], *shape))
        as_layers = synthesis.stem == "latent"
        gain = math.sqrt(2.0) / 4
        dense = EqualizedDense(math.prod(shape), gain=gain, use_bias=not as_layers, name="dense")
        x = dense(w_BxW).reshape(-1, *shape)
        if as_layers:
            if synthesis.noise:
                x = Noise(name="noise")(x, call.noise, call.noise_seeds_B)
            x = x + self.param("bias", nn.initializers.zeros, (channels,))[None, None, None]
        return leaky_relu(x)


class ToImage(nn.Module):
    """1x1 modulated convolution to colors, without demodulation."""

    config: GeneratorConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], w_BxW: Array) -> Float[Array, "b h w colors"]:
        """Colors, float32."""
        colors = self.config.image_channels
        convolution = ModulatedConvolution(
            colors, 1, style=self.config.synthesis.style, demodulate=False, name="convolution"
        )
        bias = self.param("bias", nn.initializers.zeros, (colors,))
        return convolution(x, w_BxW).astype(jnp.float32) + bias[None, None, None]


class SynthesisBlock(nn.Module):
    """The layers of one resolution, joined as `config.synthesis.architecture` says."""

    config: GeneratorConfig
    resolution: int

    @property
    def is_first(self) -> bool:
        """Whether this block reads the first grid, and does not double it."""
        return self.resolution == max(self.config.base_grid)

    @property
    def is_last(self) -> bool:
        """Whether this block makes the image."""
        return self.resolution == self.config.resolution

    @property
    def num_layers(self) -> int:
        """Convolutions in this block."""
        last = self.is_last and self.config.synthesis.last_convolution
        return (1 if self.is_first else 2) + last

    @nn.compact
    def __call__(
        self, x: Array, image: Array | None, w_BxKxRxW: Array, carried: Carried, call: Call
    ) -> tuple[Array, Array | None, list[Array | None], Carried]:
        """Features, the image so far, attention maps and what the next block needs."""
        config, synthesis = self.config, self.config.synthesis
        first, residual = self.is_first, synthesis.architecture == "resnet"
        maps, used, skip = [], 0, x
        for index in (1,) if first else (0, 1):
            layer = SynthesisLayer(
                config,
                self.resolution,
                upsample=index == 0,
                gain=RESIDUAL_GAIN if residual and index == 1 and not first else 1.0,
                name=f"layer_{index}",
            )
            x, attention, carried = layer(x, w_BxKxRxW[:, :, used], carried, call)
            maps.append(attention)
            used += 1
        if residual and not first:
            x = x + self._skip(skip, x.shape[-1])
        if image is not None:
            image = resample.upsample(image, synthesis.resample_filter)
        if self.is_last and synthesis.last_convolution:
            last = ModulatedConvolution(
                x.shape[-1], 3, style=synthesis.style, name="last_convolution"
            )
            x = last(x, w_BxKxRxW[:, -1, used])
            used += 1
        if self.is_last or synthesis.architecture == "skip":
            colors = ToImage(config, name="to_image")(x, w_BxKxRxW[:, -1, used])
            image = colors if image is None else image + colors
        return x, image, maps, carried

    def _skip(self, x: Array, channels: int) -> Array:
        skip = EqualizedConvolution(
            channels,
            1,
            resampling="up",
            use_bias=False,
            gain=RESIDUAL_GAIN,
            taps=self.config.synthesis.resample_filter,
            name="skip",
        )
        return skip(x)


class SynthesisNetwork(nn.Module):
    """w, one per component and layer, to images and attention maps."""

    config: GeneratorConfig

    @nn.compact
    def __call__(
        self, w_BxKxLxW: Float[Array, "b k l w"], call: Call
    ) -> tuple[Float[Array, "b h w c"], tuple[Float[Array, "b t n h w"], ...]]:
        """Images, nominally in [-1, 1], and attention maps from the lowest layer up."""
        config, synthesis = self.config, self.config.synthesis
        image, maps, carried, layer = None, [], Carried(), 0
        x = Stem(config, name="stem")(w_BxKxLxW[:, -1, 0], call).astype(config.dtype)
        layer += synthesis.stem != "constant"
        for resolution in config.resolutions:
            block = SynthesisBlock(config, resolution, name=f"block_{resolution}")
            used = block.num_layers
            # An RGB layer reads the latent that the next block starts with.
            w_BxKxRxW = w_BxKxLxW[:, :, layer : layer + used + 1]
            x, image, block_maps, carried = block(x, image, w_BxKxRxW, carried, call)
            maps += [attention for attention in block_maps if attention is not None]
            layer += used
        assert image is not None, "the last block makes the image"
        return image, tuple(maps)
