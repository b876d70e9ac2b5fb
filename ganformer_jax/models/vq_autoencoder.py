"""Images to codes and back: the autoencoder of VQGAN (arXiv 2012.09841, section 3.1, table 7).

The encoder halves the resolution between its levels, and the decoder doubles it: residual blocks
with group normalization (arXiv 1803.08494), and self-attention at the resolution of the codes. In
between, each vector is replaced by the nearest entry of a codebook (VQ-VAE, arXiv 1711.00937).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from ganformer_jax.config.prior import AutoencoderConfig
from ganformer_jax.models.input_checks import check_sides
from ganformer_jax.nn import resample
from ganformer_jax.nn.initialize import normal
from ganformer_jax.nn.layers import add_float32

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int

    Image = Float[Array, "b h w c"]

GROUPS = 32, 16, 8, 4, 2
"""Numbers of groups of channels that are normalized together; each group has 4 or more."""


class Convolution(nn.Module):
    """Convolution with a bias and zeros around the image.

    Attributes:
        features: Output channels.
        size: Height and width of the kernel, 1 or 3.
        resampling: "none"; "down" halves the resolution; "up" doubles it first, by repetition.
    """

    features: int
    size: int = 3
    resampling: str = "none"

    @nn.compact
    def __call__(self, x: Image) -> Float[Array, "b h2 w2 o"]:
        """Apply the layer in the type of x."""
        shape = self.size, self.size, x.shape[-1], self.features
        initial = normal(1 / math.sqrt(math.prod(shape[:3])))
        kernel = self.param("kernel", initial, shape).astype(x.dtype)
        bias_O = self.param("bias", nn.initializers.zeros, (self.features,))
        if self.resampling == "down":
            padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
            x = resample.strided_convolve(padded, kernel)
        else:
            x = x.repeat(2, 1).repeat(2, 2) if self.resampling == "up" else x
            x = resample.convolve(x, kernel)
        return add_float32(x, bias_O[None, None, None])


class GroupNorm(nn.Module):
    """Normalization of groups of channels, computed in float32."""

    @nn.compact
    def __call__(self, x: Image) -> Image:
        """Normalize each group of each image, then scale and shift each channel."""
        channels = x.shape[-1]
        fitting = (n for n in GROUPS if channels % n == 0 and channels >= 4 * n)
        layer = nn.GroupNorm(next(fitting, 1), epsilon=1e-6, dtype=jnp.float32, name="norm")
        return layer(x).astype(x.dtype)


class ResidualBlock(nn.Module):
    """Two convolutions that are added to their input.

    Attributes:
        features: Output channels.
    """

    features: int

    @nn.compact
    def __call__(self, x: Image) -> Float[Array, "b h w o"]:
        """Apply the block."""
        y = Convolution(self.features, name="first")(nn.swish(GroupNorm(name="first_norm")(x)))
        y = Convolution(self.features, name="second")(nn.swish(GroupNorm(name="second_norm")(y)))
        if x.shape[-1] != self.features:
            x = Convolution(self.features, 1, name="skip")(x)
        return x + y


class SelfAttention(nn.Module):
    """Every position gathers from all, with one head, and adds what it gathers."""

    @nn.compact
    def __call__(self, x_BxHxWxC: Image) -> Image:
        """Apply the layer."""
        batch, height, width, channels = x_BxHxWxC.shape
        y_BxFxC = GroupNorm(name="norm")(x_BxHxWxC).reshape(batch, height * width, channels)
        queries, keys, values = (
            nn.Dense(channels, dtype=y_BxFxC.dtype, name=name)(y_BxFxC)
            for name in ("queries", "keys", "values")
        )
        scores_BxFxT = jnp.einsum("bfc,btc->bft", queries, keys).astype(jnp.float32)
        shares_BxFxT = jax.nn.softmax(scores_BxFxT / math.sqrt(channels), -1)
        gathered = jnp.einsum("bft,btc->bfc", shares_BxFxT.astype(values.dtype), values)
        added = nn.Dense(channels, dtype=values.dtype, name="gathered")(gathered)
        return x_BxHxWxC + added.reshape(x_BxHxWxC.shape)


class Middle(nn.Module):
    """Residual blocks around self-attention, at the resolution of the codes.

    Attributes:
        config: The autoencoder.
    """

    config: AutoencoderConfig

    @nn.compact
    def __call__(self, x: Image) -> Image:
        """Apply the blocks."""
        x = ResidualBlock(x.shape[-1], name="first")(x)
        if not self.config.attention:
            return x
        x = SelfAttention(name="attention")(x)
        return ResidualBlock(x.shape[-1], name="second")(x)


class Encoder(nn.Module):
    """Images to a vector for each code.

    Attributes:
        config: The autoencoder.
        width: Numbers of a vector.
    """

    config: AutoencoderConfig
    width: int

    @nn.compact
    def __call__(self, images_BxHxWxC: Image) -> Float[Array, "b h2 w2 d"]:
        """Return vectors, float32, of images in [-1, 1].

        Raises:
            TypeError: If images are not floating point.
            ValueError: If they are of another rank, or codes do not divide their sides.
        """
        config = self.config
        check_sides(images_BxHxWxC, multiple=config.stride)
        x = images_BxHxWxC.astype(jnp.dtype(config.dtype))
        x = Convolution(config.width * config.multipliers[0], name="from_image")(x)
        for level, multiplier in enumerate(config.multipliers):
            if level:
                x = Convolution(x.shape[-1], 3, "down", name=f"down_{level}")(x)
            for block in range(config.blocks):
                x = ResidualBlock(config.width * multiplier, name=f"block_{level}_{block}")(x)
        x = nn.swish(GroupNorm(name="norm")(Middle(config, name="middle")(x)))
        return Convolution(self.width, name="to_vectors")(x).astype(jnp.float32)


class Decoder(nn.Module):
    """Vectors of codes to images.

    Attributes:
        config: The autoencoder.
    """

    config: AutoencoderConfig

    @nn.compact
    def __call__(self, vectors_BxHxWxD: Float[Array, "b h w d"]) -> tuple[Array, Array]:
        """Return images, float32, about in [-1, 1]; and what their last convolution reads."""
        config = self.config
        top = len(config.multipliers) - 1
        x = vectors_BxHxWxD.astype(jnp.dtype(config.dtype))
        x = Convolution(config.width * config.multipliers[top], name="from_vectors")(x)
        x = Middle(config, name="middle")(x)
        for level in range(top, -1, -1):
            features = config.width * config.multipliers[level]
            for block in range(config.blocks):
                x = ResidualBlock(features, name=f"block_{level}_{block}")(x)
            if level:
                x = Convolution(features, 3, "up", name=f"up_{level}")(x)
        x = nn.swish(GroupNorm(name="norm")(x))
        images = Convolution(config.image_channels, name="to_image")(x)
        return images.astype(jnp.float32), x


def nearest_codes(
    vectors_BxHxWxD: Float[Array, "b h w d"], codebook_MxD: Float[Array, "m d"]
) -> Int[Array, "b h w"]:
    """Return the entry of the codebook that is nearest to each vector (equation 2)."""
    products = jnp.einsum("bhwd,md->bhwm", vectors_BxHxWxD, codebook_MxD, precision="highest")
    squares_M = jnp.square(codebook_MxD).sum(-1)
    return jnp.argmin(squares_M[None, None, None] - 2 * products, -1)


def straight_through(
    vectors: Float[Array, "b h w d"], entries: Float[Array, "b h w d"]
) -> Float[Array, "b h w d"]:
    """Return entries of the codebook, whose gradients pass to the vectors that they stand for."""
    return vectors + lax.stop_gradient(entries - vectors)


def commitment_loss(
    vectors: Float[Array, "b h w d"], entries: Float[Array, "b h w d"]
) -> Float[Array, ""]:
    """Return the mean squared distance of vectors to their entries, for the encoder alone.

    The third term of equation 4. The entries learn from averages of vectors instead of the second.
    """
    return jnp.square(vectors - lax.stop_gradient(entries)).mean()
