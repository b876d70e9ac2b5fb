"""Discriminators of GANformer2: of layouts, and of images with their segments.

Arad Hudson and Zitnick 2021 (arXiv 2111.08960).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import flax.linen as nn
import jax.numpy as jnp

from ganformer_jax.config import DiscriminatorConfig
from ganformer_jax.losses.layouts import READ
from ganformer_jax.models.discriminator import Discriminator
from ganformer_jax.models.input_checks import check_shape, check_sides
from ganformer_jax.nn.layers import EqualizedConvolution, EqualizedDense
from ganformer_jax.nn.layouts import pool_segments

if TYPE_CHECKING:
    from jaxtyping import Array, Float

HIDDEN_WIDTH = 64
"""Width of the hidden layer between the features of a segment and its logit."""
READER_WIDTH, READER_LEVELS = 8, 3
"""Channels of the reader at full resolution, doubled with every halving, and its resolutions."""


class SegmentDiscriminator(nn.Module):
    """Images with layouts to a logit of the image and one of every segment: high for real.

    The features of a segment are the means over its pixels, at a quarter of the resolution.
    """

    config: DiscriminatorConfig

    @nn.compact
    def __call__(
        self, images_BxHxWxC: Float[Array, "b h w c"], layout_BxHxWxK: Float[Array, "b h w k"]
    ) -> tuple[Float[Array, "b 1"], Float[Array, "b k"], Float[Array, "b k"]]:
        """Return the logits, float32, and the shares of the image of its segments.

        Raises:
            TypeError: If images are not floating point.
            ValueError: If arguments are of another rank or size, or not of one batch.
        """
        check_shape("layout", layout_BxHxWxK[..., 0], images_BxHxWxC.shape[:3])
        logits_Bx1, out = Discriminator(self.config, name="image")(images_BxHxWxC)
        height = max(images_BxHxWxC.shape[1] // 4, out["features"].shape[1])
        features = next(each for each in out["blocks"] if each.shape[1] == height)
        pooled_BxKxC, area_BxK = pool_segments(features, layout_BxHxWxK)
        hidden = EqualizedDense(HIDDEN_WIDTH, activation=True, name="segment")(pooled_BxKxC)
        logits_BxK = EqualizedDense(1, name="segment_output")(hidden)[..., 0]
        return logits_Bx1, logits_BxK, area_BxK


class LayoutReader(nn.Module):
    """Images to the logits that `losses.layout_matching` compares with a layout.

    A U-Net (Ronneberger et al. 2015, arXiv 1505.04597).
    """

    @nn.compact
    def __call__(self, images_BxHxWxC: Float[Array, "b h w c"]) -> Float[Array, "b h w c2"]:
        """Return `READ` logits for every pixel, float32, of images in [-1, 1].

        Raises:
            TypeError: If images are not floating point.
            ValueError: If they are of another rank, or their sides are not multiples of 4.
        """
        check_sides(images_BxHxWxC, multiple=2 ** (READER_LEVELS - 1))
        x, skips = images_BxHxWxC, []
        for level in range(READER_LEVELS):
            x = self._two(x, level, "down")
            skips.append(x)
            if level < READER_LEVELS - 1:
                x = nn.avg_pool(x, (2, 2), (2, 2))
        for level in reversed(range(READER_LEVELS - 1)):
            x = jnp.repeat(jnp.repeat(x, 2, 1), 2, 2)
            x = self._two(jnp.concatenate([x, skips[level]], -1), level, "up")
        return EqualizedConvolution(READ, 1, name="output")(x).astype(jnp.float32)

    def _two(self, x: Array, level: int, way: str) -> Float[Array, "b h w c"]:
        for index in range(2):
            name = f"{way}_{level}_{index}"
            width = READER_WIDTH << level
            x = EqualizedConvolution(width, 3, activation=True, name=name)(x)
        return x
