"""Losses and regularization, as pure functions of logits, of callables or of images.

Losses are per image, in float32 and not averaged. Logits are high for real images.
"""

from ganformer_jax.losses.adversarial import (
    DECISION_LOGITS,
    DISCRIMINATOR_LOSSES,
    GENERATOR_LOSSES,
    PAIRED_GENERATOR_LOSSES,
    generator_loss,
    hinge_discriminator,
    hinge_generator,
    least_squares_discriminator,
    least_squares_generator,
    logistic_discriminator,
    logistic_generator,
    non_saturating_generator,
    relativistic_discriminator,
    relativistic_generator,
    wgan_discriminator,
    wgan_generator,
)
from ganformer_jax.losses.images import laplacian_distance
from ganformer_jax.losses.labels import contrastive
from ganformer_jax.losses.layouts import layout_matching, segment_fidelity
from ganformer_jax.losses.regularization import gradient_penalty, path_length, r1_penalty

__all__ = [
    "DECISION_LOGITS",
    "DISCRIMINATOR_LOSSES",
    "GENERATOR_LOSSES",
    "PAIRED_GENERATOR_LOSSES",
    "contrastive",
    "generator_loss",
    "gradient_penalty",
    "hinge_discriminator",
    "hinge_generator",
    "laplacian_distance",
    "layout_matching",
    "least_squares_discriminator",
    "least_squares_generator",
    "logistic_discriminator",
    "logistic_generator",
    "non_saturating_generator",
    "path_length",
    "r1_penalty",
    "relativistic_discriminator",
    "relativistic_generator",
    "segment_fidelity",
    "wgan_discriminator",
    "wgan_generator",
]
