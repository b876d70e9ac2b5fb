"""Regularization by gradients: penalties of the discriminator, and path lengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from ganformer_jax.losses.checks import column_of, refuse_tuple, require, require_shape

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    Images = Float[Array, "b h w c"]
    Latents = Float[Array, "b k l d"]
    Logits = Float[Array, "b 1"]
    PerImage = Float[Array, " b"]


def r1_penalty(discriminate: Callable[[Images], Logits], images_BxHxWxC: Images) -> PerImage:
    """Return the squared norm of the gradient of D at images, which gamma / 2 weighs.

    R1 at real images, R2 at generated ones: Mescheder et al. 2018 (arXiv 1801.04406), eq. 9 and
    10. Where the discriminator mixes the images of a batch (minibatch standard deviation), this is
    the gradient of the sum of their logits.

    Args:
        discriminate: Images to logits [B, 1].
        images_BxHxWxC: Real or generated images, floating point.

    Returns:
        Float32 [B], non-negative.

    Raises:
        ValueError: Images or logits of another rank, or another number of logits than images.
        TypeError: Images or logits that are not floating point.
    """
    return _squared_slopes(discriminate, images_BxHxWxC)


def gradient_penalty(
    discriminate: Callable[[Images], Logits],
    real_BxHxWxC: Images,
    fake_BxHxWxC: Images,
    share_Bx1x1x1: Images,
) -> PerImage:
    """Return (|gradient of D| - 1)^2 at points between real and generated images.

    The penalty of WGAN-GP: Gulrajani et al. 2017 (arXiv 1704.00028), eq. 3, which they weigh by 10.

    Args:
        discriminate: Images to logits [B, 1].
        real_BxHxWxC: Real images, floating point.
        fake_BxHxWxC: Generated images of the same shape.
        share_Bx1x1x1: Share of the real image in each point, uniform on [0, 1).

    Returns:
        Float32 [B], non-negative.

    Raises:
        ValueError: Images or logits of another rank, another number of logits than images, images
            of two shapes, or shares that are not one for each image.
        TypeError: Images, logits or shares that are not floating point.
    """
    require(real_BxHxWxC, "real images", 4)
    require(fake_BxHxWxC, "generated images", 4)
    if real_BxHxWxC.shape != fake_BxHxWxC.shape:
        raise ValueError(f"real images {real_BxHxWxC.shape}, generated {fake_BxHxWxC.shape}")
    require_shape(share_Bx1x1x1, "shares", (real_BxHxWxC.shape[0], 1, 1, 1))
    between_BxHxWxC = fake_BxHxWxC + share_Bx1x1x1 * (real_BxHxWxC - fake_BxHxWxC)
    squared_B = _squared_slopes(discriminate, between_BxHxWxC)
    # The norm has no gradient at 0, where this one is 0.
    return jnp.square(jnp.sqrt(jnp.maximum(squared_B, 1e-20)) - 1)


def _squared_slopes(discriminate: Callable[[Images], Logits], images_BxHxWxC: Images) -> PerImage:
    """Return the squared norm of the gradient of each image's logit."""
    require(images_BxHxWxC, "images", 4)

    def total(images_BxHxWxC: Images) -> Array:
        logits_B = column_of(discriminate(images_BxHxWxC))
        if logits_B.shape != images_BxHxWxC.shape[:1]:
            raise ValueError(f"{logits_B.shape[0]} logits for {images_BxHxWxC.shape[0]} images")
        return logits_B.sum()

    gradient_BxHxWxC = jax.grad(total)(images_BxHxWxC)
    return jnp.square(gradient_BxHxWxC.astype(jnp.float32)).sum((1, 2, 3))


def path_length(
    synthesize: Callable[[Latents], Images], w_BxKxLxD: Latents, pixel_noise_BxHxWxC: Images
) -> PerImage:
    """Return path lengths |J^T y|, the effect of w in a random image direction y.

    Karras et al. 2020 (arXiv 1912.04958), eq. 4, with y scaled by 1 / sqrt(height * width). The
    squared norm is summed over the width of w and averaged over its latents and layers.

    Args:
        synthesize: Latents to images.
        w_BxKxLxD: W of every latent in every layer, floating point.
        pixel_noise_BxHxWxC: Standard normal noise y of the images' shape.

    Returns:
        Float32 [B], non-negative.

    Raises:
        ValueError: Arguments of another rank, or noise of another shape than the images.
        TypeError: Arguments that are not floating point.
    """
    require(w_BxKxLxD, "w", 4)
    require(pixel_noise_BxHxWxC, "pixel noise", 4)

    def projection(w_BxKxLxD: Latents) -> jax.Array:
        images_BxHxWxC = synthesize(w_BxKxLxD)
        refuse_tuple(images_BxHxWxC, "images")
        found, expected = pixel_noise_BxHxWxC.shape, images_BxHxWxC.shape
        if found != expected:
            raise ValueError(f"pixel noise {found} for images {expected}")
        _, height, width, _ = expected
        return jnp.sum(images_BxHxWxC * pixel_noise_BxHxWxC) / (height * width) ** 0.5

    gradient_BxKxLxD = jax.grad(projection)(w_BxKxLxD).astype(jnp.float32)
    squared_B = jnp.square(gradient_BxKxLxD).sum(3).mean((1, 2))
    return jnp.sqrt(jnp.maximum(squared_B, 1e-20))  # the root has no gradient at 0
