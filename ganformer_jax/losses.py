"""Adversarial losses and regularization of a GAN, as pure functions of logits or of callables.

Losses are per image, in float32 and not averaged. Logits are high for real images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    Images = Float[Array, "b h w c"]
    Latents = Float[Array, "b k l d"]
    Logits = Float[Array, "b 1"]
    PerImage = Float[Array, " b"]


def _require(array: Any, name: str, rank: int) -> None:
    """Raise ValueError for another rank, and TypeError for a dtype that is not floating point."""
    if jnp.ndim(array) != rank:
        raise ValueError(f"{name} must have rank {rank}, not shape {jnp.shape(array)}")
    if not jnp.issubdtype(jnp.result_type(array), jnp.floating):
        raise TypeError(f"{name} must be floating point, not {jnp.result_type(array)}")


def _logits(logits_Bx1: Logits, name: str = "logits") -> PerImage:
    _require(logits_Bx1, name, 2)
    if logits_Bx1.shape[1] != 1:
        raise ValueError(f"{name} must have one column, not shape {logits_Bx1.shape}")
    return logits_Bx1[:, 0].astype(jnp.float32)


def _pair(real_Bx1: Logits, fake_Bx1: Logits) -> tuple[PerImage, PerImage]:
    real_B, fake_B = _logits(real_Bx1, "real logits"), _logits(fake_Bx1, "fake logits")
    if real_B.shape != fake_B.shape:
        raise ValueError(f"{real_B.shape[0]} real logits but {fake_B.shape[0]} fake ones")
    return real_B, fake_B


def non_saturating_generator(fake_Bx1: Logits) -> PerImage:
    """Return -log sigmoid(D(fake)): Goodfellow et al. 2014 (arXiv 1406.2661), section 3."""
    return jax.nn.softplus(-_logits(fake_Bx1))


def logistic_generator(fake_Bx1: Logits) -> PerImage:
    """Return log(1 - sigmoid(D(fake))), which saturates: arXiv 1406.2661, eq. 1."""
    return -jax.nn.softplus(_logits(fake_Bx1))


def hinge_generator(fake_Bx1: Logits) -> PerImage:
    """Return -D(fake): Lim and Ye 2017 (arXiv 1705.02894); Miyato et al. 2018 (1802.05957), eq. 17.

    The published GANformer code takes -max(0, 1 + D(fake)), which has no gradient for the
    images that most need one.
    """
    return -_logits(fake_Bx1)


def wgan_generator(fake_Bx1: Logits) -> PerImage:
    """Return -D(fake): Arjovsky et al. 2017 (arXiv 1701.07875), algorithm 1."""
    return -_logits(fake_Bx1)


def logistic_discriminator(real_Bx1: Logits, fake_Bx1: Logits) -> PerImage:
    """Return -log sigmoid(D(real)) - log(1 - sigmoid(D(fake))): arXiv 1406.2661, eq. 1."""
    real_B, fake_B = _pair(real_Bx1, fake_Bx1)
    return jax.nn.softplus(-real_B) + jax.nn.softplus(fake_B)


def hinge_discriminator(real_Bx1: Logits, fake_Bx1: Logits) -> PerImage:
    """Return max(0, 1 - D(real)) + max(0, 1 + D(fake)): arXiv 1705.02894; 1802.05957, eq. 16."""
    real_B, fake_B = _pair(real_Bx1, fake_Bx1)
    return jax.nn.relu(1 - real_B) + jax.nn.relu(1 + fake_B)


def wgan_discriminator(real_Bx1: Logits, fake_Bx1: Logits, epsilon: float = 0.001) -> PerImage:
    """Return D(fake) - D(real) + epsilon * D(real)^2.

    Arjovsky et al. 2017 (arXiv 1701.07875), algorithm 1, with the pull to zero of Karras et al.
    2018 (arXiv 1710.10196), appendix A.1, whose weight is epsilon.
    """
    real_B, fake_B = _pair(real_Bx1, fake_Bx1)
    return fake_B - real_B + epsilon * jnp.square(real_B)


GENERATOR_LOSSES: dict[str, Callable[..., PerImage]] = {
    "non_saturating": non_saturating_generator,
    "logistic": logistic_generator,
    "hinge": hinge_generator,
    "wgan": wgan_generator,
}
DISCRIMINATOR_LOSSES: dict[str, Callable[..., PerImage]] = {
    "logistic": logistic_discriminator,
    "hinge": hinge_discriminator,
    "wgan": wgan_discriminator,
}


def r1_penalty(discriminate: Callable[[Images], Logits], images_BxHxWxC: Images) -> PerImage:
    """Return the squared norm of the gradient of D at real images, which gamma / 2 weighs.

    Mescheder et al. 2018 (arXiv 1801.04406), eq. 9. Where the discriminator mixes the images of
    a batch (minibatch standard deviation), this is the gradient of the sum of their logits.

    Args:
        discriminate: Images to logits [B, 1].
        images_BxHxWxC: Real images, floating point.

    Returns:
        Float32 [B], non-negative.

    Raises:
        ValueError: Images or logits of another rank.
        TypeError: Images or logits that are not floating point.
    """
    _require(images_BxHxWxC, "images", 4)
    gradient_BxHxWxC = jax.grad(lambda images: _logits(discriminate(images)).sum())(images_BxHxWxC)
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
    _require(w_BxKxLxD, "w", 4)
    _require(pixel_noise_BxHxWxC, "pixel noise", 4)

    def projection(w_BxKxLxD: Latents) -> jax.Array:
        images_BxHxWxC = synthesize(w_BxKxLxD)
        found, expected = pixel_noise_BxHxWxC.shape, images_BxHxWxC.shape
        if found != expected:
            raise ValueError(f"pixel noise {found} for images {expected}")
        _, height, width, _ = expected
        return jnp.sum(images_BxHxWxC * pixel_noise_BxHxWxC) / (height * width) ** 0.5

    gradient_BxKxLxD = jax.grad(projection)(w_BxKxLxD)
    return jnp.sqrt(jnp.square(gradient_BxKxLxD).sum(3).mean((1, 2)))
