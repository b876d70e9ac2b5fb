"""Discriminator: convolutions down to the base grid, minibatch standard deviation, one logit.

The discriminator of StyleGAN2 (arXiv 1912.04958, section 4.1), as GANformer uses it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax.numpy as jnp

from ganformer_jax.config import DiscriminatorConfig, MappingConfig
from ganformer_jax.models.mapping import MappingBranch
from ganformer_jax.models.synthesis import RESIDUAL_GAIN
from ganformer_jax.nn import resample
from ganformer_jax.nn.layers import (
    EqualizedConvolution,
    EqualizedDense,
    minibatch_stddev,
    normalize,
)

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class DiscriminatorBlock(nn.Module):
    """Two convolutions, the second halving the resolution, and optionally a residual path."""

    config: DiscriminatorConfig
    channels_in: int
    channels_out: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c2"]:
        """Return features at half the resolution."""
        residual, taps = self.config.architecture == "resnet", self.config.resample_filter
        gain, clamp = RESIDUAL_GAIN if residual else 1.0, self.config.clamp
        y = EqualizedConvolution(
            self.channels_in, 3, activation=True, clamp=clamp, name="convolution_0"
        )(x)
        y = EqualizedConvolution(
            self.channels_out,
            3,
            resampling="down",
            activation=True,
            gain=gain,
            taps=taps,
            clamp=clamp,
            name="convolution_1",
        )(y)
        if not residual:
            return y
        skip = EqualizedConvolution(
            self.channels_out,
            1,
            resampling="down",
            use_bias=False,
            gain=gain,
            taps=taps,
            name="skip",
        )
        return y + skip(x)


class Discriminator(nn.Module):
    """Images, and labels if conditional, to a logit: high for real, low for generated.

    Attributes:
        config: The discriminator.
        base_grid: Height and width of the last grid: those of the generator's first one.
        rematerialize: Compute each block again for its gradients, which saves memory; the
            parameters and results are the same.
    """

    config: DiscriminatorConfig
    base_grid: tuple[int, int] = (4, 4)
    rematerialize: bool = False

    @nn.compact
    def __call__(
        self,
        images_BxHxWxC: Float[Array, "b h w c"],
        labels_BxY: Float[Array, "b y"] | None = None,
    ) -> tuple[Float[Array, "b 1"], dict[str, Any]]:
        """Compute the logits of images.

        Args:
            images_BxHxWxC: Images in [-1, 1], of the shape of the base grid, doubled.
            labels_BxY: One-hot labels or conditions. The logit is then that of the class (Mescheder
                et al. 2018, arXiv 1801.04406); with `label_logit` "projection" one that does not
                depend on the label is added (Miyato and Koyama 2018, arXiv 1802.05637, equation 3);
                with "embedding" it is the product of features and a vector that a mapping network
                makes of the label (Karras et al. 2020, arXiv 2006.06676).
                None, or no classes, for an unconditional discriminator.

        Returns:
            Logits, float32; and a dict with `features`, the base grid before the last layers.

        Raises:
            ValueError: The batch is not a multiple of the minibatch stddev group, or the images
                are not the base grid doubled.
        """
        config = self.config
        skip, image = config.architecture == "skip", images_BxHxWxC
        self._check_size(*image.shape[1:3])
        resolution = max(image.shape[1:3])
        x = self._read_image(image, None, resolution)
        block = nn.remat(DiscriminatorBlock) if self.rematerialize else DiscriminatorBlock
        while resolution > max(self.base_grid):
            channels = self.config.channels_at(resolution), self.config.channels_at(resolution // 2)
            x = block(config, *channels, name=f"block_{resolution}")(x)
            resolution //= 2
            if skip:
                image = resample.downsample(image, config.resample_filter)
                x = self._read_image(image, x, resolution)
        return self._logits(x, labels_BxY), {"features": x}

    def _check_size(self, height: int, width: int) -> None:
        rows, columns = self.base_grid
        doubled = height // rows
        if (height, width) != (rows * doubled, columns * doubled) or doubled.bit_count() != 1:
            raise ValueError(
                f"images of {height}x{width} are not the base grid, {rows}x{columns}, doubled"
            )

    def _read_image(self, image: Array, x: Array | None, resolution: int) -> Array:
        """Return features of the image at this resolution, added to x if there is one."""
        layer = EqualizedConvolution(
            self.config.channels_at(resolution),
            1,
            activation=True,
            # That of the base grid has no limit in the published code.
            clamp=self.config.clamp if resolution > max(self.base_grid) else None,
            name=f"from_image_{resolution}",
        )
        y = layer(image.astype(self.config.dtype))
        return y if x is None else x + y

    def _logits(self, x: Float[Array, "b h w c"], labels_BxY: Array | None) -> Float[Array, "b 1"]:
        """Return the logits of features at the base grid."""
        config, channels = self.config, x.shape[-1]
        if config.minibatch_stddev_channels:
            x = minibatch_stddev(x, config.minibatch_stddev_group, config.minibatch_stddev_channels)
        last = EqualizedConvolution(
            channels, 3, activation=True, clamp=config.clamp, name="convolution"
        )
        x = last(x)
        x = x.reshape(x.shape[0], math.prod(x.shape[1:])).astype(jnp.float32)
        x = EqualizedDense(channels, activation=True, name="dense")(x)
        if labels_BxY is None or not labels_BxY.shape[-1]:
            return EqualizedDense(1, name="output")(x)
        if config.label_logit == "embedding":
            vector_BxD = self._map_labels(labels_BxY, channels)
            width = vector_BxD.shape[-1]
            products_BxD = EqualizedDense(width, name="output")(x) * vector_BxD
            return jnp.sum(products_BxD, 1, keepdims=True) / math.sqrt(width)
        logits_BxY = EqualizedDense(labels_BxY.shape[-1], name="output")(x)
        logits_Bx1 = jnp.sum(logits_BxY * labels_BxY, 1, keepdims=True)
        if config.label_logit == "projection":
            logits_Bx1 += EqualizedDense(1, name="unconditional")(x)
        return logits_Bx1

    def _map_labels(self, labels_BxY: Array, channels: int) -> Float[Array, "b d"]:
        """Return the vector that each image's features are compared with."""
        options = self.config.label_mapping
        width = options.width or channels
        embed = EqualizedDense(options.embedding_width or width, name="label_embedding")
        embedding = normalize(embed(labels_BxY.astype(jnp.float32)))
        if not options.num_layers:
            return embedding
        mapping = MappingConfig(
            num_layers=options.num_layers - 1,  # the last is the output layer
            residual=False,
            width=options.hidden_width,
            last_hidden_width=options.hidden_width,
            learning_rate_multiplier=options.learning_rate_multiplier,
        )
        return MappingBranch(mapping, width, name="label_mapping")(embedding)
