"""Networks of SAGAN (Zhang et al. 2019, arXiv 1805.08318).

Residual networks with spectral normalization in both (section 4), self-attention at one resolution
(section 3), batch normalization by class in the generator and projection in the discriminator.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax.numpy as jnp

from ganformer_jax.config import DiscriminatorConfig, GeneratorConfig
from ganformer_jax.models.attention_layer import SynthesisContext
from ganformer_jax.models.input_checks import check_images, check_labels
from ganformer_jax.nn.batch_norm import batch_norm
from ganformer_jax.nn.layers import scale_float32
from ganformer_jax.nn.microbatch import FULL_BATCH, Microbatch
from ganformer_jax.nn.spectral import SpectralConvolution, SpectralDense

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def double(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Double height and width by repeating pixels."""
    return jnp.repeat(jnp.repeat(x, 2, 1), 2, 2)


def halve(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Halve height and width by means of 2x2 pixels."""
    return nn.avg_pool(x, (2, 2), (2, 2))


class SelfAttention(nn.Module):
    """Attention of every position to all places of a grid of half the size (section 3).

    Queries and keys have an eighth of the channels, values half of them. What is gathered is added
    in a learned proportion that starts at 0 (equation 3).
    """

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        """Return features of the same shape."""
        batch, channels = x.shape[0], x.shape[-1]
        narrow, half = max(channels // 8, 1), max(channels // 2, 1)

        def project(name: str, width: int, pooled: bool) -> Float[Array, "b f d"]:
            y = SpectralConvolution(width, 1, name=name)(x, train)
            y = nn.max_pool(y, (2, 2), (2, 2)) if pooled else y
            return y.reshape(batch, -1, width)

        query_BxFxD, key_BxTxD = project("query", narrow, False), project("key", narrow, True)
        scores_BxFxT = jnp.einsum("bfd,btd->bft", query_BxFxD, key_BxTxD)
        shares_BxFxT = nn.softmax(scores_BxFxT.astype(jnp.float32)).astype(x.dtype)
        gathered = jnp.einsum("bft,btd->bfd", shares_BxFxT, project("value", half, True))
        gathered = gathered.reshape(*x.shape[:3], half)
        gathered = SpectralConvolution(channels, 1, name="output")(gathered, train)
        return x + scale_float32(gathered, self.param("gamma", nn.initializers.zeros, ()))


class ClassBatchNorm(nn.Module):
    """Batch normalization, then a gain and a bias of the class (de Vries et al. 2017).

    Attributes:
        axis_name: The mapped axis of devices that share the batch, if there is one.
    """

    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], labels_BxY: Float[Array, "b y"], train: bool
    ) -> Float[Array, "b h w c"]:
        """Return features of the same shape; without labels gain and bias are those of all."""
        labeled, channels = labels_BxY.shape[-1] > 0, x.shape[-1]
        affine = {"use_scale": not labeled, "use_bias": not labeled}
        norm = batch_norm(x.dtype, self.axis_name, "batch_norm", **affine)
        x = norm(x, use_running_average=not train)
        if not labeled:
            return x
        shape = labels_BxY.shape[-1], channels
        # Added to 1, so that conditions, which may be zeros, start without an effect.
        gain_BxC = 1 + labels_BxY @ self.param("gain", nn.initializers.zeros, shape)
        bias_BxC = labels_BxY @ self.param("bias", nn.initializers.zeros, shape)
        scaled = x.astype(jnp.float32) * gain_BxC[:, None, None] + bias_BxC[:, None, None]
        return scaled.astype(x.dtype)


class GrowingBlock(nn.Module):
    """Residual block of the generator, which doubles the resolution.

    Attributes:
        features: Output channels.
        axis_name: The mapped axis of devices that share the batch, if there is one.
    """

    features: int
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], labels_BxY: Float[Array, "b y"], train: bool
    ) -> Float[Array, "b h2 w2 c2"]:
        """Return features at twice the resolution."""
        y = nn.relu(ClassBatchNorm(self.axis_name, name="norm_0")(x, labels_BxY, train))
        y = SpectralConvolution(self.features, 3, name="convolution_0")(double(y), train)
        y = nn.relu(ClassBatchNorm(self.axis_name, name="norm_1")(y, labels_BxY, train))
        y = SpectralConvolution(self.features, 3, name="convolution_1")(y, train)
        return y + SpectralConvolution(self.features, 1, name="skip")(double(x), train)


class ShrinkingBlock(nn.Module):
    """Residual block of the discriminator.

    Attributes:
        features: Output channels.
        first: The block reads the image, which no activation changes.
        last: The block keeps the resolution, which the others halve.
    """

    features: int
    first: bool = False
    last: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 c2"]:
        """Return features at half the resolution or, of the last block, at the same one."""
        y = SpectralConvolution(self.features, 3, name="convolution_0")(
            x if self.first else nn.relu(x), train
        )
        y = SpectralConvolution(self.features, 3, name="convolution_1")(nn.relu(y), train)
        if self.last and x.shape[-1] == self.features:
            return x + y
        x = SpectralConvolution(self.features, 1, name="skip")(x, train)
        return x + y if self.last else halve(x + y)


class SAGANSynthesis(nn.Module):
    """Latents, and labels beside them, to images.

    Attributes:
        config: The generator.
        rematerialize: Keep no activations inside blocks; gradients compute them again.
        axis_name: The mapped axis of devices that share the batch, if there is one.
    """

    config: GeneratorConfig
    rematerialize: bool = False
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, w_BxKxLxD: Float[Array, "b k l d"], context: SynthesisContext
    ) -> tuple[Float[Array, "b h w c"], dict[str, Any]]:
        """Return images in [-1, 1], float32, and a dict of no attention maps."""
        config, train = self.config, context.train
        first, *others = config.resolutions
        shape = (*config.base_grid, config.synthesis.channels_at(first))
        w_BxD = w_BxKxLxD[:, -1, 0]
        z_BxD, labels_BxY = jnp.split(w_BxD, [config.z_size], axis=1)
        x = SpectralDense(math.prod(shape), name="dense")(z_BxD, train)
        x = x.reshape(w_BxD.shape[0], *shape).astype(config.dtype)

        def grow(module: nn.Module, x: Array, resolution: int) -> Array:
            channels = config.synthesis.channels_at(resolution)
            block = GrowingBlock(channels, self.axis_name, name=f"block_{resolution}")
            x = block(x, labels_BxY, train)
            if resolution == config.image_attention_resolution:
                x = SelfAttention(name=f"attention_{resolution}")(x, train)
            return x

        grow = nn.remat(grow, static_argnums=2) if self.rematerialize else grow
        for resolution in others:
            x = grow(self, x, resolution)
        norm = batch_norm(x.dtype, self.axis_name, "batch_norm")
        x = nn.relu(norm(x, use_running_average=not train))
        x = SpectralConvolution(config.image_channels, 3, name="to_image")(x, train)
        return jnp.tanh(x.astype(jnp.float32)), {"attention": ()}


class SAGANDiscriminator(nn.Module):
    """Images, and labels if conditional, to a logit.

    Attributes:
        config: The discriminator.
        base_grid: Height and width of the last grid.
        rematerialize: Keep no activations inside blocks; gradients compute them again.
        axis_name: Not read: nothing depends on the batch.
    """

    config: DiscriminatorConfig
    base_grid: tuple[int, int] = (4, 4)
    rematerialize: bool = False
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self,
        images_BxHxWxC: Float[Array, "b h w c"],
        labels_BxY: Float[Array, "b y"] | None = None,
        *,
        train: bool = False,
        microbatch: Microbatch = FULL_BATCH,
    ) -> tuple[Float[Array, "b 1"], dict[str, Any]]:
        """Compute the logits of images, with labels those of a projection (arXiv 1802.05637).

        Args:
            images_BxHxWxC: Images in [-1, 1], floating point; height and width are those of the
                base grid times one power of two.
            labels_BxY: One-hot labels or conditions; None, or no classes, without them.
            train: Store the singular vectors that power iteration makes.
            microbatch: Not read: nothing is drawn.

        Returns:
            Logits, float32; and a dict with `features`, the last grid.

        Raises:
            ValueError: Images or labels of another shape.
            TypeError: Images that are not floating point.
        """
        check_images(images_BxHxWxC, self.base_grid)
        check_labels(labels_BxY, images_BxHxWxC.shape[0])
        config = self.config
        resolution = largest = max(images_BxHxWxC.shape[1:3])

        def shrink(module: nn.Module, x: Array, resolution: int) -> Array:
            first, half = resolution == largest, resolution // 2
            block = ShrinkingBlock(config.channels_at(half), first, name=f"block_{resolution}")
            x = block(x, train)
            if half == config.image_attention_resolution:
                x = SelfAttention(name=f"attention_{half}")(x, train)
            return x

        shrink = nn.remat(shrink, static_argnums=2) if self.rematerialize else shrink
        x = images_BxHxWxC.astype(config.dtype)
        while resolution > max(self.base_grid):
            x = shrink(self, x, resolution)
            resolution //= 2
        x = ShrinkingBlock(x.shape[-1], last=True, name="block_last")(x, train)
        pooled_BxD = jnp.sum(nn.relu(x).astype(jnp.float32), (1, 2))
        logits_Bx1 = SpectralDense(1, name="output")(pooled_BxD, train)
        if labels_BxY is not None and labels_BxY.shape[-1]:
            embed = SpectralDense(pooled_BxD.shape[-1], use_bias=False, name="label_embedding")
            label_BxD = embed(labels_BxY.astype(jnp.float32), train)
            logits_Bx1 += jnp.sum(label_BxD * pooled_BxD, 1, keepdims=True)
        return logits_Bx1, {"features": x}
