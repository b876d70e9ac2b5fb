"""Checks of a GANformer2's config before anything is compiled."""

from __future__ import annotations

from ganformer_jax.config.checks import check_schedule, need_multiple
from ganformer_jax.config.ganformer2 import CHANNELED, GANformer2Config, GANformer2LossConfig
from ganformer_jax.config.ranges import check_ranges
from ganformer_jax.errors import UserError


def validate_ganformer2(config: GANformer2Config) -> None:
    """Check every range of a GANformer2, and how its options fit together.

    Raises:
        UserError: If an option has to be set differently; the message names it.
    """
    check_ranges(config)
    check_schedule("optimizer.learning_rate_schedule", config.optimizer.learning_rate_schedule)
    resolution, train = config.execution.resolution, config.train
    if resolution.bit_count() != 1:
        raise UserError(f"execution.resolution is {resolution}; it should be a power of two")
    for name in CHANNELED:
        base = getattr(config, name).channel_base
        if base < resolution:
            size = f"{resolution}x{resolution}"
            raise UserError(f"{name}.channel_base is {base}, which leaves no channels at {size}")
    if config.execution.style_size % 4:
        raise UserError(
            f"execution.style_size is {config.execution.style_size}; it should be a multiple of 4, "
            "for positions as sines and cosines along both axes"
        )
    for name in ("layout_discriminator", "image_discriminator"):
        group = min(getattr(config, name).minibatch_stddev_group, train.batch_size)
        need_multiple(train.batch_size, group, f"{name}.minibatch_stddev_group {group}")
    _check_effects(config.loss)
    if config.data.held_out_pairs:
        raise UserError("data.held_out_pairs is about captions: leave it out")
    for name in ("accumulate", "freeze_discriminator", "rematerialize"):
        if getattr(train, name) != getattr(type(train)(), name):
            raise UserError(f"train.{name} has no effect on a GANformer2: leave it out")


def _check_effects(loss: GANformer2LossConfig) -> None:
    """Refuse options of losses that another one turns off."""
    for name, other, is_on in (
        ("planned_share", "together_kimg", loss.together_kimg is not None),
        ("layout_gamma", "penalty_interval", loss.penalty_interval > 0),
        ("image_gamma", "penalty_interval", loss.penalty_interval > 0),
    ):
        if not is_on and getattr(loss, name) != getattr(GANformer2LossConfig(), name):
            raise UserError(f"loss.{name} has no effect: set loss.{other}, or leave it out")
    if loss.together_kimg is not None and not loss.planned_share:
        raise UserError(
            "loss.planned_share is 0, with which both stages are never trained together: set "
            "loss.together_kimg to None, or the share above 0"
        )
