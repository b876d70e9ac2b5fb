"""Synthesis network: w to an image, growing its first grid while components attend to it.

Every layer is a (modulated) convolution, bipartite attention where the resolution is in range,
noise, bias and activation (arXiv 2103.01209, section 3.2, figure 4). Without components this is
the synthesis network of StyleGAN2 (arXiv 1912.04958).
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax.numpy as jnp

from ganformer_jax.config import GeneratorConfig
from ganformer_jax.config.attention import LOCAL_ATTENTION_HEADS
from ganformer_jax.models.attention_layer import AttentionLayer, AttentionState, SynthesisContext
from ganformer_jax.models.input_checks import refuse_network
from ganformer_jax.models.merging import MergeShares, fold_images, merge_images, merge_latents
from ganformer_jax.nn import resample
from ganformer_jax.nn.initialize import normal
from ganformer_jax.nn.layers import (
    EqualizedConvolution,
    EqualizedDense,
    ModulatedConvolution,
    Noise,
    add_float32,
    clamp,
    leaky_relu,
)
from ganformer_jax.nn.local_attention import LocalAttention, local_positions
from ganformer_jax.nn.places import ComponentPlaces

if TYPE_CHECKING:
    from jaxtyping import Array, Float

RESIDUAL_GAIN = math.sqrt(0.5)


def num_layers(config: GeneratorConfig) -> int:
    """Count the layers that read a latent, L: 3x3 convolutions, the stem and the RGB layer.

    Each reads a latent of its own of every component (`num_ws` of StyleGAN2-ADA). A constant stem
    reads none, RGB layers before the last share that of the next block, and a DCGAN and a SAGAN
    have one layer.

    Raises:
        TypeError: If `config` is a network.
    """
    refuse_network(config)
    if config.network != "ganformer":
        return 1
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
        self, x: Array, w_BxKxD: Array, state: AttentionState, context: SynthesisContext
    ) -> tuple[Float[Array, "b h w c"], AttentionState]:
        """Return image features and the state for the next layer."""
        config, synthesis = self.config, self.config.synthesis
        channels = synthesis.channels_at(self.resolution)
        local = context.local_position_9xD if self.resolution < self._local_below() else None
        if local is not None:
            attend = LocalAttention(
                channels, LOCAL_ATTENTION_HEADS, config.attention.dropout, name="local_attention"
            )
            x = attend(x, local, train=context.train, microbatch=context.microbatch)
        x = ModulatedConvolution(
            channels,
            3,
            resampling="up" if self.upsample else "none",
            style=synthesis.style,
            taps=synthesis.resample_filter,
            convolve=local is None,
            name="convolution",
        )(x, w_BxKxD[:, -1])
        if self.resolution in config.attended_resolutions + config.self_attended_resolutions:
            components = state.components_BxKxD
            end, words = -1 - config.words, None
            components = w_BxKxD[:, :end] if components is None else components
            if config.words:
                words = w_BxKxD[:, end:-1]
            attention = AttentionLayer(config, self.resolution, name="attention")
            x, state = attention(x, components, state, context, words)
        else:
            state = state._replace(components_BxKxD=None)
        if synthesis.noise:
            x = self._noise()(x, context.noise, context.noise_seeds_B, context.microbatch)
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        x = leaky_relu(add_float32(x, bias[None, None, None]), self.gain)
        return x if synthesis.clamp is None else clamp(x, synthesis.clamp * self.gain), state

    def _local_below(self) -> int:
        return self.config.local_attention_below or 0

    def _noise(self) -> Noise:
        images = self.config.images_at(self.resolution)
        # As in the published code, images have the same fixed noise where they are merged.
        shared = self.resolution == self.config.merge_resolution
        return Noise(images, shared, name="noise")


class Stem(nn.Module):
    """The first grid, such as 4x4: learned, or mapped from the global latent as in a plain GAN."""

    config: GeneratorConfig

    @nn.compact
    def __call__(self, w_BxD: Array, context: SynthesisContext) -> Float[Array, "b h w c"]:
        """Return the grid for every image of the batch."""
        synthesis = self.config.synthesis
        grid, images = self.config.base_grid, self.config.images_at(max(self.config.base_grid))
        channels = synthesis.channels_at(max(grid))
        shape = (*grid, channels)
        if synthesis.stem == "constant":
            own = (images,) if images > 1 else ()  # images to merge have a grid each
            constant = self.param("constant", normal(), (*own, *shape))
            repeated = jnp.broadcast_to(constant, (w_BxD.shape[0] // images, *own, *shape))
            return repeated.reshape(w_BxD.shape[0], *shape)
        as_layers = synthesis.stem == "latent"
        gain = math.sqrt(2.0) / 4
        dense = EqualizedDense(math.prod(shape), gain=gain, use_bias=not as_layers, name="dense")
        x = dense(w_BxD).reshape(w_BxD.shape[0], *shape)
        if as_layers:
            if synthesis.noise:
                noise = Noise(images, name="noise")
                x = noise(x, context.noise, context.noise_seeds_B, context.microbatch)
            x = x + self.param("bias", nn.initializers.zeros, (channels,))[None, None, None]
        return leaky_relu(x)


class ToImage(nn.Module):
    """1x1 modulated convolution to colors, without demodulation."""

    config: GeneratorConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], w_BxD: Array) -> Float[Array, "b h w c2"]:
        """Return colors, float32."""
        colors = self.config.image_channels
        convolution = ModulatedConvolution(
            colors, 1, style=self.config.synthesis.style, demodulate=False, name="convolution"
        )
        bias = self.param("bias", nn.initializers.zeros, (colors,))
        image = convolution(x, w_BxD).astype(jnp.float32) + bias[None, None, None]
        image = jnp.tanh(image) if self.config.synthesis.tanh else image
        return clamp(image, self.config.synthesis.clamp)


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
    def num_convolutions(self) -> int:
        """Number of 3x3 convolutions, each of which reads a latent of its own."""
        last = self.is_last and self.config.synthesis.last_convolution
        return (1 if self.is_first else 2) + last

    @nn.compact
    def __call__(
        self,
        x: Array,
        image: Array | None,
        w_BxKxLxD: Array,
        state: AttentionState,
        context: SynthesisContext,
    ) -> tuple[Array, Array | None, Array, AttentionState]:
        """Return features, the image so far, w and the state, all for the next block.

        w has the layers from this block's first one on, and loses those of this block. An RGB layer
        reads the latent that the next block starts with.
        """
        config, synthesis = self.config, self.config.synthesis
        first, residual = self.is_first, synthesis.architecture == "resnet"
        used, skip = 0, x
        for index in (1,) if first else (0, 1):
            layer = SynthesisLayer(
                config,
                self.resolution,
                upsample=index == 0,
                gain=RESIDUAL_GAIN if residual and index == 1 and not first else 1.0,
                name=f"layer_{index}",
            )
            x, state = layer(x, w_BxKxLxD[:, :, used], state, context)
            used += 1
        if residual and not first:
            x = x + self._skip(skip, x.shape[-1])
        if image is not None:
            image = resample.upsample(image, synthesis.resample_filter)
        if self.resolution == config.merge_resolution:
            x, image, w_BxKxLxD, state = self._merge(x, image, w_BxKxLxD, state)
        if self.is_last and synthesis.last_convolution:
            last = ModulatedConvolution(
                x.shape[-1], 3, style=synthesis.style, name="last_convolution"
            )
            x = last(x, w_BxKxLxD[:, -1, used])
            used += 1
        if self.is_last or synthesis.architecture == "skip":
            colors = ToImage(config, name="to_image")(x, w_BxKxLxD[:, -1, used])
            image = colors if image is None else image + colors
        return x, image, w_BxKxLxD[:, :, self.num_convolutions :], state

    def _merge(
        self, x: Array, image: Array | None, w_BxKxLxD: Array, state: AttentionState
    ) -> tuple[Array, Array | None, Array, AttentionState]:
        """Merge the images of each row, and their latents; the state gets a map of the shares."""
        merge = self.config.merge
        shares_BxKxHxW = MergeShares(merge, name="merge")(x)
        image = None if image is None else merge_images(image, shares_BxKxHxW)
        w_Bx1xLxD = merge_latents(w_BxKxLxD, shares_BxKxHxW)
        state = state._replace(merged_BxKxHxW=shares_BxKxHxW)
        return merge_images(x, shares_BxKxHxW), image, w_Bx1xLxD, state

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
    """w, one per component and layer, to images and attention maps.

    Attributes:
        config: The generator.
        rematerialize: Keep no activations inside blocks; gradients compute them again.
    """

    config: GeneratorConfig
    rematerialize: bool = False

    @nn.compact
    def __call__(
        self, w_BxKxLxD: Float[Array, "b k l d"], context: SynthesisContext
    ) -> tuple[Float[Array, "b h w c"], dict[str, Any]]:
        """Return images, nominally in [-1, 1], and a dict.

        `attention` is a tuple of maps [B, K, N, H, W] from the lowest layer up; where images are
        merged, `shares` [B, K, H, W] has the share of each at every position; with captions,
        `words` has maps [B, T, N, H, W] of their words.
        """
        config = self.config
        image, state = None, AttentionState()
        if config.local_attention_below:
            context = dataclasses.replace(context, local_position_9xD=local_positions(self))
        if config.merge.images:
            w_BxKxLxD = fold_images(w_BxKxLxD)
        if config.attention.places and config.components:
            height, width = config.image_size
            sides = width / max(height, width), height / max(height, width)
            multiplier = config.attention.places_learning_rate_multiplier
            places = ComponentPlaces(sides, multiplier, name="places")(w_BxKxLxD[:, :-1, 0])
            if context.shift_BxKx2 is not None:
                center_BxKx2 = places.center_BxKx2 + context.shift_BxKx2
                places = places._replace(center_BxKx2=center_BxKx2)
            context = dataclasses.replace(context, places=places)
        x = Stem(config, name="stem")(w_BxKxLxD[:, -1, 0], context).astype(config.dtype)
        w_BxKxLxD = w_BxKxLxD[:, :, int(config.synthesis.stem != "constant") :]

        def apply(block: SynthesisBlock, x: Any, image: Any, w_BxKxLxD: Any, state: Any) -> Any:
            return block(x, image, w_BxKxLxD, state, context)

        apply = nn.remat(apply) if self.rematerialize else apply
        for resolution in config.resolutions:
            block = SynthesisBlock(config, resolution, name=f"block_{resolution}")
            x, image, w_BxKxLxD, state = apply(block, x, image, w_BxKxLxD, state)
        if image is None:
            raise ValueError(
                f"resolution is {config.resolution}; it should be {max(config.base_grid)}, the "
                "longer side of base_grid, doubled at least once"
            )
        out: dict[str, Any] = {"attention": state.maps}
        if state.merged_BxKxHxW is not None:
            out["shares"] = state.merged_BxKxHxW
        if config.words:
            out["words"] = state.word_maps
        return image, out
