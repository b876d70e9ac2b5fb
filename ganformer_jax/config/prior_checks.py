"""Checks of a prior's config before anything is compiled."""

from __future__ import annotations

from ganformer_jax.config.checks import check_schedule
from ganformer_jax.config.prior import PriorConfig
from ganformer_jax.config.ranges import check_ranges
from ganformer_jax.config.translation_checks import smallest_side
from ganformer_jax.errors import UserError


def validate_prior(config: PriorConfig) -> None:
    """Check every range of a prior, and how its options fit together.

    Raises:
        UserError: If an option has to be set differently; the message names it.
    """
    check_ranges(config)
    for name in ("autoencoder_optimizer", "transformer_optimizer"):
        schedule = getattr(config, name).learning_rate_schedule
        check_schedule(f"{name}.learning_rate_schedule", schedule)
    _check_sizes(config)
    transformer, prior, train = config.transformer, config.prior, config.train
    if transformer.width % transformer.heads:
        raise UserError(
            f"transformer.heads is {transformer.heads}, which does not divide transformer.width "
            f"{transformer.width}: use a divisor of it"
        )
    if not config.loss.pixel and not config.loss.pyramid:
        raise UserError(
            "loss.pixel and loss.pyramid are both 0, so images would not be reconstructed: set one "
            "of them"
        )
    if config.loss.adversarial and prior.autoencoder_kimg <= prior.adversarial_kimg:
        raise UserError(
            f"prior.adversarial_kimg is {prior.adversarial_kimg:g} and prior.autoencoder_kimg "
            f"{prior.autoencoder_kimg:g}, so the adversarial loss would never start: lower the "
            "first, or set loss.adversarial to 0"
        )
    if not config.loss.adversarial and prior.adversarial_kimg != type(prior).adversarial_kimg:
        raise UserError(
            "prior.adversarial_kimg has no effect: set loss.adversarial, or leave it out"
        )
    if prior.vocabulary and prior.label_size < 2:
        raise UserError(
            f"prior.vocabulary is {prior.vocabulary} and prior.label_size {prior.label_size}; for "
            "captions set prior.label_size to the tokens of the longest one, 2 or more"
        )
    for name in ("accumulate", "freeze_discriminator", "rematerialize"):
        if getattr(train, name) != getattr(type(train)(), name):
            raise UserError(f"train.{name} has no effect on a prior: leave it out")


def _check_sizes(config: PriorConfig) -> None:
    """Refuse images that codes, or the patches of the discriminator, do not divide."""
    options = config.autoencoder
    if not options.multipliers or min(options.multipliers) < 1:
        raise UserError(
            f"autoencoder.multipliers is {list(options.multipliers)}; it should be one number of 1 "
            "or more for each level"
        )
    height, width = options.image_size
    stride, adversarial = options.stride, config.loss.adversarial > 0
    smallest = smallest_side(config.discriminator.layers) if adversarial else stride
    if height % stride or width % stride or min(height, width) < smallest:
        raise UserError(
            f"autoencoder.image_size is {height}x{width}; both should be multiples of {stride}, "
            f"the pixels of a code, and {smallest} or more"
        )
