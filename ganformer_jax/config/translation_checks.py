"""Checks of a translation's config before anything is compiled."""

from __future__ import annotations

from ganformer_jax.config.checks import check_schedule
from ganformer_jax.config.network_checks import check_heads, check_positions
from ganformer_jax.config.ranges import check_ranges
from ganformer_jax.config.training import RENDERED
from ganformer_jax.config.translation import TranslationConfig, TranslatorConfig
from ganformer_jax.errors import UserError

SAME_SCENES = {"scenes", "scenes_drawn"}
"""Rendered datasets whose images of one number show the same scene."""


def validate_translation(config: TranslationConfig) -> None:
    """Check every range of a translation, and how its options fit together.

    Raises:
        UserError: If an option has to be set differently; the message names it.
    """
    check_ranges(config)
    check_schedule("optimizer.learning_rate_schedule", config.optimizer.learning_rate_schedule)
    generator, train = config.generator, config.train
    height, width = generator.image_size
    smallest = smallest_side(config.discriminator.layers)
    if height % 4 or width % 4 or min(height, width) < smallest:
        raise UserError(
            f"generator.image_size is {height}x{width}; both should be multiples of 4, and "
            f"{smallest} or more with discriminator.layers {config.discriminator.layers}"
        )
    _check_components(generator)
    _check_sets(config)
    for name in ("accumulate", "freeze_discriminator", "rematerialize"):
        if getattr(train, name) != getattr(type(train)(), name):
            raise UserError(f"train.{name} has no effect on a translation: leave it out")


def _check_components(generator: TranslatorConfig) -> None:
    """Refuse components that nothing attends to, and attention without or unfit for them."""
    if generator.components and not generator.blocks:
        raise UserError(
            f"generator.components is {generator.components}, but components attend before "
            "residual blocks and generator.blocks is 0: set one of them differently"
        )
    if not generator.components:
        for name in ("component_width", "attention", "positions"):
            if getattr(generator, name) != getattr(TranslatorConfig(), name):
                raise UserError(f"generator.{name} has no effect: set generator.components")
    else:
        widths = {
            "width of components": generator.component_width,
            "channels of the bottleneck": 4 * generator.width,
        }
        check_heads("generator.attention.heads", generator.attention.heads, widths)
        check_positions("generator.positions", generator.positions, generator.component_width)
    if generator.attention.kmeans_carried:
        raise UserError("generator.attention.kmeans_carried is for GANformers: set it to false")
    if generator.attention.places:
        raise UserError("generator.attention.places is for GANformers: set it to false")
    if generator.attention.places_learning_rate_multiplier != 1:
        name = "generator.attention.places_learning_rate_multiplier"
        raise UserError(f"{name} is for GANformers: set it to 1")


def _check_sets(config: TranslationConfig) -> None:
    """Refuse sets that are one, or have no pairs, and losses without effect."""
    data = config.data
    if data.name == data.target:
        raise UserError(f"data.name and data.target are both {data.name}: name two sets of images")
    if bool(config.loss.paired) != data.paired:
        raise UserError(
            f"data.paired is {data.paired} and loss.paired {config.loss.paired}: set both, or none"
        )
    both = {data.name, data.target}
    if data.paired and both <= {*RENDERED} and both != SAME_SCENES:
        raise UserError(
            f"data.paired needs pairs, and {data.name} and {data.target} show different scenes: "
            f"use {' and '.join(sorted(SAME_SCENES))}, or leave it out"
        )
    if config.loss.identity and not config.loss.cycle:
        raise UserError(
            f"loss.identity is {config.loss.identity:g}, a multiple of loss.cycle, which is 0: set "
            "loss.identity to 0 too"
        )


def smallest_side(layers: int) -> int:
    """Return the least height and width of images: patch discriminators have 2x2 logits of them."""
    return max(8, 4 * 2**layers)
