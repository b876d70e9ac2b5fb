"""The discriminator of patches of translations and priors (PatchGAN, arXiv 1611.07004, 3.2.2).

With instance normalization, as in CycleGAN (arXiv 1703.10593, section 7.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import flax.linen as nn
import jax.numpy as jnp

from ganformer_jax.config.patches import PatchConfig
from ganformer_jax.models.input_checks import check_sides
from ganformer_jax.nn.instance_norm import instance_norm
from ganformer_jax.nn.padded_convolution import PaddedConvolution

if TYPE_CHECKING:
    from jaxtyping import Array, Float

SLOPE = 0.2
"""Slope of the leaky ReLU."""


class PatchDiscriminator(nn.Module):
    """Images to a logit for each of many patches.

    Attributes:
        config: The discriminator.
    """

    config: PatchConfig

    @nn.compact
    def __call__(self, images_BxHxWxC: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 1"]:
        """Return logits, float32, of images in [-1, 1].

        Raises:
            TypeError: If images are not floating point.
            ValueError: If they are of another rank, or too small for a logit.
        """
        config = self.config
        # The last two convolutions take a pixel each, and leave one or more.
        check_sides(images_BxHxWxC, least=3 * 2**config.layers)
        x = images_BxHxWxC.astype(jnp.dtype(config.dtype))
        for number in range(config.layers + 1):
            features = config.width * min(2**number, 8)
            down = "down" if number < config.layers else "none"
            x = PaddedConvolution(features, 4, down, 1, "constant", name=f"convolution_{number}")(x)
            x = nn.leaky_relu(instance_norm(x) if number else x, SLOPE)
        x = PaddedConvolution(1, 4, "none", 1, "constant", name="output")(x)
        return x.astype(jnp.float32)
