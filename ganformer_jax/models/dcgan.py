"""Networks of DCGAN (Radford et al. 2016, arXiv 1511.06434, section 3 and figure 1).

Convolutions of 5x5 that double or halve the resolution, batch normalization in all but the layers
next to the image, weights from N(0, 0.02^2).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganformer_jax.config import DiscriminatorConfig, GeneratorConfig
from ganformer_jax.models.attention_layer import SynthesisContext
from ganformer_jax.models.input_checks import check_images, check_labels
from ganformer_jax.nn import resample
from ganformer_jax.nn.batch_norm import batch_norm
from ganformer_jax.nn.initialize import normal
from ganformer_jax.nn.layers import add_float32
from ganformer_jax.nn.microbatch import FULL_BATCH, Microbatch

if TYPE_CHECKING:
    from jaxtyping import Array, Float

DEVIATION = 0.02
"""Standard deviation of initial weights."""
SLOPE = 0.2
"""Slope of the leaky ReLU."""
SIZE = 5
"""Height and width of kernels."""
BEFORE, AFTER = 2, 1
"""Rows, and columns, before and after an image: a convolution adds as many zeros, and a transposed
one removes as many."""


def _scale(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    return 1 + normal(DEVIATION)(key, shape).astype(dtype)


def _kernel(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    return normal(DEVIATION)(key, shape).astype(dtype)


class Convolution(nn.Module):
    """Convolution that halves the resolution, or a transposed one that doubles it.

    Attributes:
        features: Output channels.
        transposed: Double the resolution.
        use_bias: Add a bias per channel, initially 0.
    """

    features: int
    transposed: bool
    use_bias: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Apply the layer in the type of x."""
        shape = (SIZE, SIZE, x.shape[-1], self.features)
        kernel = self.param("kernel", normal(DEVIATION), shape).astype(x.dtype)
        if self.transposed:
            x = resample.transposed_convolve(x, kernel)[:, BEFORE:-AFTER, BEFORE:-AFTER]
        else:
            around = (BEFORE, AFTER)
            x = resample.strided_convolve(jnp.pad(x, ((0, 0), around, around, (0, 0))), kernel)
        if self.use_bias:
            bias_O = self.param("bias", nn.initializers.zeros, (self.features,))
            x = add_float32(x, bias_O[None, None, None])
        return x


class DCGANSynthesis(nn.Module):
    """Latents to images: a dense layer to the first grid, then transposed convolutions.

    Attributes:
        config: The generator.
        rematerialize: Keep no activations inside layers; gradients compute them again.
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
        config, dtype = self.config, jnp.dtype(self.config.dtype)
        first, *others = config.resolutions
        shape = (*config.base_grid, config.synthesis.channels_at(first))

        def activated(x: Array, resolution: int) -> Array:
            name = f"batch_norm_{resolution}"
            norm = batch_norm(dtype, self.axis_name, name, scale_init=_scale)
            return nn.relu(norm(x, use_running_average=not context.train))

        def grow(module: nn.Module, x: Array, resolution: int) -> Array:
            last = resolution == config.resolution
            channels = config.image_channels if last else config.synthesis.channels_at(resolution)
            x = Convolution(channels, True, last, name=f"convolution_{resolution}")(x)
            return x if last else activated(x, resolution)

        grow = nn.remat(grow, static_argnums=2) if self.rematerialize else grow
        dense = nn.Dense(
            math.prod(shape), use_bias=False, dtype=dtype, kernel_init=_kernel, name="dense"
        )
        x = activated(dense(w_BxKxLxD[:, -1, 0]).reshape(w_BxKxLxD.shape[0], *shape), first)
        for resolution in others:
            x = grow(self, x, resolution)
        return jnp.tanh(x.astype(jnp.float32)), {"attention": ()}


class DCGANDiscriminator(nn.Module):
    """Images to a logit: strided convolutions, then a dense layer.

    Attributes:
        config: The discriminator.
        base_grid: Height and width of the last grid.
        rematerialize: Keep no activations inside layers; gradients compute them again.
        axis_name: The mapped axis of devices that share the batch, if there is one.
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
            train: Normalize by the statistics of the batch.
            microbatch: The full batch: a part of it has other statistics.

        Returns:
            Logits, float32; and a dict with `features`, the last grid.

        Raises:
            ValueError: Images or labels of another shape.
            TypeError: Images that are not floating point.
        """
        check_images(images_BxHxWxC, self.base_grid)
        check_labels(labels_BxY, images_BxHxWxC.shape[0])
        config, dtype = self.config, jnp.dtype(self.config.dtype)
        resolution = largest = max(images_BxHxWxC.shape[1:3])

        def shrink(module: nn.Module, x: Array, resolution: int) -> Array:
            first = resolution == largest
            channels = config.channels_at(resolution // 2)
            x = Convolution(channels, False, first, name=f"convolution_{resolution}")(x)
            if not first:
                name = f"batch_norm_{resolution}"
                norm = batch_norm(dtype, self.axis_name, name, scale_init=_scale)
                x = norm(x, use_running_average=not train)
            return nn.leaky_relu(x, SLOPE)

        shrink = nn.remat(shrink, static_argnums=2) if self.rematerialize else shrink
        x = images_BxHxWxC.astype(dtype)
        while resolution > max(self.base_grid):
            x = shrink(self, x, resolution)
            resolution //= 2
        flat_BxD = x.reshape(x.shape[0], math.prod(x.shape[1:])).astype(jnp.float32)
        logits_Bx1 = nn.Dense(1, kernel_init=_kernel, name="output")(flat_BxD)
        if labels_BxY is not None and labels_BxY.shape[-1]:
            embed = nn.Dense(flat_BxD.shape[-1], False, kernel_init=_kernel, name="label_embedding")
            logits_Bx1 += jnp.sum(embed(labels_BxY) * flat_BxD, 1, keepdims=True)
        return logits_Bx1, {"features": x}
