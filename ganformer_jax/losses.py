"""Losses and regularization of a GAN, as pure functions of logits, of callables or of images.

Losses are per image, in float32 and not averaged. Logits are high for real images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float

    Images = Float[Array, "b h w c"]
    Latents = Float[Array, "b k l d"]
    Logits = Float[Array, "b 1"]
    PerImage = Float[Array, " b"]

SMALLEST = 4
"""Shorter side of the coarsest level of a pyramid, at least."""


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


def least_squares_generator(fake_Bx1: Logits) -> PerImage:
    """Return (D(fake) - 1)^2 / 2: Mao et al. 2017 (arXiv 1611.04076), eq. 9."""
    return jnp.square(_logits(fake_Bx1) - 1) / 2


def relativistic_generator(real_Bx1: Logits, fake_Bx1: Logits) -> PerImage:
    """Return -log sigmoid(D(fake) - D(real)) of pairs, images at the same place of their batches.

    Jolicoeur-Martineau 2018 (arXiv 1807.00734), in the form of Huang et al. 2024 (R3GAN, arXiv
    2501.05441), eq. 2.
    """
    real_B, fake_B = _pair(real_Bx1, fake_Bx1)
    return jax.nn.softplus(real_B - fake_B)


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


def least_squares_discriminator(real_Bx1: Logits, fake_Bx1: Logits) -> PerImage:
    """Return (D(real) - 1)^2 / 2 + D(fake)^2 / 2: Mao et al. 2017 (arXiv 1611.04076), eq. 9."""
    real_B, fake_B = _pair(real_Bx1, fake_Bx1)
    return (jnp.square(real_B - 1) + jnp.square(fake_B)) / 2


def relativistic_discriminator(real_Bx1: Logits, fake_Bx1: Logits) -> PerImage:
    """Return -log sigmoid(D(real) - D(fake)) of pairs; see `relativistic_generator`."""
    real_B, fake_B = _pair(real_Bx1, fake_Bx1)
    return jax.nn.softplus(fake_B - real_B)


GENERATOR_LOSSES: dict[str, Callable[..., PerImage]] = {
    "non_saturating": non_saturating_generator,
    "logistic": logistic_generator,
    "hinge": hinge_generator,
    "wgan": wgan_generator,
    "least_squares": least_squares_generator,
}
"""Functions of the logits of generated images."""
PAIRED_GENERATOR_LOSSES: dict[str, Callable[..., PerImage]] = {
    "relativistic": relativistic_generator
}
"""Functions of the logits of real and of generated images."""
DISCRIMINATOR_LOSSES: dict[str, Callable[..., PerImage]] = {
    "logistic": logistic_discriminator,
    "hinge": hinge_discriminator,
    "wgan": wgan_discriminator,
    "least_squares": least_squares_discriminator,
    "relativistic": relativistic_discriminator,
}
"""Functions of the logits of real and of generated images."""
DECISION_LOGITS = {"logistic": 0.0, "hinge": 0.0, "least_squares": 0.5}
"""The logit between real and generated images, by the discriminator's loss. Other losses compare
logits with each other only."""


def generator_loss(
    name: str, fake_Bx1: Logits, real_logits: Callable[[], Logits] | None = None
) -> PerImage:
    """Return the generator's loss by its name, as in `LossConfig.generator`.

    Args:
        name: A key of `GENERATOR_LOSSES` or of `PAIRED_GENERATOR_LOSSES`.
        fake_Bx1: Logits of generated images.
        real_logits: Computes logits of real images; called only for a paired loss.

    Raises:
        ValueError: A paired loss without `real_logits`.
    """
    if name not in PAIRED_GENERATOR_LOSSES:
        return GENERATOR_LOSSES[name](fake_Bx1)
    if real_logits is None:
        raise ValueError(f"the {name} loss needs logits of real images")
    return PAIRED_GENERATOR_LOSSES[name](real_logits(), fake_Bx1)


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
        ValueError: Images or logits of another rank.
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
        share_Bx1x1x1: How much of a point is the real image, uniform on [0, 1).

    Returns:
        Float32 [B], non-negative.

    Raises:
        ValueError: Images or logits of another rank, or images of two shapes.
        TypeError: Images or logits that are not floating point.
    """
    _require(share_Bx1x1x1, "shares", 4)
    _require(real_BxHxWxC, "real images", 4)
    _require(fake_BxHxWxC, "generated images", 4)
    if real_BxHxWxC.shape != fake_BxHxWxC.shape:
        raise ValueError(f"real images {real_BxHxWxC.shape}, generated {fake_BxHxWxC.shape}")
    between_BxHxWxC = fake_BxHxWxC + share_Bx1x1x1 * (real_BxHxWxC - fake_BxHxWxC)
    squared_B = _squared_slopes(discriminate, between_BxHxWxC)
    # The norm has no gradient at 0, where this one is 0.
    return jnp.square(jnp.sqrt(jnp.maximum(squared_B, 1e-20)) - 1)


def _squared_slopes(discriminate: Callable[[Images], Logits], images_BxHxWxC: Images) -> PerImage:
    """Return the squared norm of the gradient of each image's logit."""
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

    gradient_BxKxLxD = jax.grad(projection)(w_BxKxLxD).astype(jnp.float32)
    squared_B = jnp.square(gradient_BxKxLxD).sum(3).mean((1, 2))
    return jnp.sqrt(jnp.maximum(squared_B, 1e-20))  # the root has no gradient at 0


def contrastive(
    similarities_BxN: Float[Array, "b n"],
    same_BxN: Bool[Array, "b n"],
    temperature: float = 0.1,
) -> PerImage:
    """Return -log of the share that an image's own label has among the labels of a batch.

    The contrastive loss between images and sentences of Zhang et al. 2021 (XMC-GAN, arXiv
    2101.04702, section 4), from images to sentences only: so the images of a batch may be computed
    in parts, as long as all labels are there.

    Args:
        similarities_BxN: Cosines between the vectors of images and of labels.
        same_BxN: Which of the labels are the image's own, at least one; there are several if
            images have the same label.
        temperature: What cosines are divided by.

    Raises:
        ValueError: Arguments of another rank, or of different shapes.
    """
    _require(similarities_BxN, "similarities", 2)
    if similarities_BxN.shape != same_BxN.shape:
        raise ValueError(f"similarities {similarities_BxN.shape}, but same {same_BxN.shape}")
    scaled_BxN = similarities_BxN.astype(jnp.float32) / temperature
    own_B = jax.nn.logsumexp(scaled_BxN, 1, where=same_BxN)
    return jax.nn.logsumexp(scaled_BxN, 1) - own_B


def laplacian_distance(
    one_BxHxWxC: Float[Array, "b h w c"], other_BxHxWxC: Float[Array, "b h w c"]
) -> Float[Array, " b"]:
    """Return the distance of each pair of images in a Laplacian pyramid.

    The sum over levels of the mean absolute difference, as in Lap1 of P. Bojanowski et al.,
    "Optimizing the Latent Space of Generative Networks", ICML 2018 (arXiv 1707.05776), where a
    level's sum is weighted by the size of its pixels. Levels are halved by averaging 2x2 pixels,
    until a side is odd or the shorter one has less than 8.

    Args:
        one_BxHxWxC: Images of any number of channels, in [-1, 1].
        other_BxHxWxC: The second image of each pair.

    Returns:
        0 or more, of float32.

    Raises:
        ValueError: Images of another rank, or of two shapes.
        TypeError: Images that are not floating point.
    """
    _require(one_BxHxWxC, "images", 4)
    _require(other_BxHxWxC, "images", 4)
    if one_BxHxWxC.shape != other_BxHxWxC.shape:
        raise ValueError(f"images {one_BxHxWxC.shape} and {other_BxHxWxC.shape}")
    rest = one_BxHxWxC - other_BxHxWxC  # the pyramid is linear
    distance_B = jnp.zeros(len(rest))
    while all(side % 2 == 0 and side >= 2 * SMALLEST for side in rest.shape[1:3]):
        batch, height, width, channels = rest.shape
        half = rest.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))
        detail = rest - jax.image.resize(half, rest.shape, "bilinear")
        distance_B += jnp.abs(detail).mean((1, 2, 3))
        rest = half
    return distance_B + jnp.abs(rest).mean((1, 2, 3))
