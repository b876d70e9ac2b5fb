"""Adversarial losses of generators and discriminators, and their names in configs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from ganformer_jax.errors import choose
from ganformer_jax.losses.checks import column_of, pair_of

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    Logits = Float[Array, "b 1"]
    PerImage = Float[Array, " b"]


def non_saturating_generator(fake_Bx1: Logits) -> PerImage:
    """Return -log sigmoid(D(fake)): Goodfellow et al. 2014 (arXiv 1406.2661), section 3."""
    return jax.nn.softplus(-column_of(fake_Bx1))


def logistic_generator(fake_Bx1: Logits) -> PerImage:
    """Return log(1 - sigmoid(D(fake))), which saturates: arXiv 1406.2661, eq. 1."""
    return -jax.nn.softplus(column_of(fake_Bx1))


def hinge_generator(fake_Bx1: Logits) -> PerImage:
    """Return -D(fake): Lim and Ye 2017 (arXiv 1705.02894); Miyato et al. 2018 (1802.05957), eq. 17.

    The published GANformer code takes -max(0, 1 + D(fake)), which has no gradient for the
    images that most need one.
    """
    return -column_of(fake_Bx1)


def wgan_generator(fake_Bx1: Logits) -> PerImage:
    """Return -D(fake): Arjovsky et al. 2017 (arXiv 1701.07875), algorithm 1."""
    return -column_of(fake_Bx1)


def least_squares_generator(fake_Bx1: Logits) -> PerImage:
    """Return (D(fake) - 1)^2 / 2: Mao et al. 2017 (arXiv 1611.04076), eq. 9."""
    return jnp.square(column_of(fake_Bx1) - 1) / 2


def relativistic_generator(real_Bx1: Logits, fake_Bx1: Logits) -> PerImage:
    """Return -log sigmoid(D(fake) - D(real)) of pairs, images at the same place of their batches.

    Jolicoeur-Martineau 2018 (arXiv 1807.00734), in the form of Huang et al. 2024 (R3GAN, arXiv
    2501.05441), eq. 2.
    """
    real_B, fake_B = pair_of(real_Bx1, fake_Bx1)
    return jax.nn.softplus(real_B - fake_B)


def logistic_discriminator(real_Bx1: Logits, fake_Bx1: Logits) -> PerImage:
    """Return -log sigmoid(D(real)) - log(1 - sigmoid(D(fake))): arXiv 1406.2661, eq. 1."""
    real_B, fake_B = pair_of(real_Bx1, fake_Bx1)
    return jax.nn.softplus(-real_B) + jax.nn.softplus(fake_B)


def hinge_discriminator(real_Bx1: Logits, fake_Bx1: Logits) -> PerImage:
    """Return max(0, 1 - D(real)) + max(0, 1 + D(fake)): arXiv 1705.02894; 1802.05957, eq. 16."""
    real_B, fake_B = pair_of(real_Bx1, fake_Bx1)
    return jax.nn.relu(1 - real_B) + jax.nn.relu(1 + fake_B)


def wgan_discriminator(real_Bx1: Logits, fake_Bx1: Logits, epsilon: float = 0.001) -> PerImage:
    """Return D(fake) - D(real) + epsilon * D(real)^2.

    Arjovsky et al. 2017 (arXiv 1701.07875), algorithm 1, with the pull to zero of Karras et al.
    2018 (arXiv 1710.10196), appendix A.1, whose weight is epsilon.
    """
    real_B, fake_B = pair_of(real_Bx1, fake_Bx1)
    return fake_B - real_B + epsilon * jnp.square(real_B)


def least_squares_discriminator(real_Bx1: Logits, fake_Bx1: Logits) -> PerImage:
    """Return (D(real) - 1)^2 / 2 + D(fake)^2 / 2: Mao et al. 2017 (arXiv 1611.04076), eq. 9."""
    real_B, fake_B = pair_of(real_Bx1, fake_Bx1)
    return (jnp.square(real_B - 1) + jnp.square(fake_B)) / 2


def relativistic_discriminator(real_Bx1: Logits, fake_Bx1: Logits) -> PerImage:
    """Return -log sigmoid(D(real) - D(fake)) of pairs; see `relativistic_generator`."""
    real_B, fake_B = pair_of(real_Bx1, fake_Bx1)
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
        ValueError: An unknown name, or a paired loss without `real_logits`.
    """
    loss = choose("the generator's loss", name, GENERATOR_LOSSES | PAIRED_GENERATOR_LOSSES)
    if name not in PAIRED_GENERATOR_LOSSES:
        return loss(fake_Bx1)
    if real_logits is None:
        raise ValueError(f"the {name} loss needs logits of real images")
    return loss(real_logits(), fake_Bx1)
