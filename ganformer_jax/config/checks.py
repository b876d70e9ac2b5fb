"""Checks of a config before anything is compiled: ranges, and how options fit together."""

from __future__ import annotations

from typing import Any

from ganformer_jax.config.baseline_checks import check_baseline_training
from ganformer_jax.config.gan import Config
from ganformer_jax.config.network_checks import shape, validate_networks
from ganformer_jax.config.ranges import Range, check_range, check_ranges
from ganformer_jax.config.training import LossConfig, ScheduleConfig
from ganformer_jax.errors import UserError

BETAS = Range(0, 1, below=True)
"""Decays of Adam's moments."""


def require_config(config: Any) -> None:
    """Raise TypeError for what is not a `Config`, such as the config of a generator alone."""
    if not isinstance(config, Config):
        raise TypeError(f"config is a {type(config).__name__}: give a Config")


def validate(config: Config) -> None:
    """Check every range of an experiment, and how its options fit together.

    Raises:
        UserError: If an option has to be set differently; the message names it.
        TypeError: If it is not a `Config`.
    """
    require_config(config)
    check_ranges(config)
    validate_networks(config.generator, config.discriminator)
    _check_losses(config.loss)
    _check_label_losses(config)
    _check_schedules(config)
    _check_augmentation(config)
    _check_frozen(config)
    check_baseline_training(config)


def _check_losses(loss: LossConfig) -> None:
    """Refuse losses of two networks that do not belong together, and penalties that are off."""
    for name in ("relativistic", "least_squares"):
        if (loss.generator == name) != (loss.discriminator == name):
            raise UserError(
                f"loss.generator is {loss.generator} and loss.discriminator {loss.discriminator}; "
                f"{name} needs both: set both to {name}"
            )
    for name in ("r2_gamma", "gradient_penalty_weight"):
        if getattr(loss, name) and not loss.r1_interval:
            raise UserError(
                f"loss.{name} is {getattr(loss, name)}, but loss.r1_interval 0 turns it off; "
                "set the interval to 1 or more"
            )


def _check_label_losses(config: Config) -> None:
    """Refuse losses about labels where there are none, or the discriminator compares none."""
    for name in ("mismatch_weight", "contrastive_weight"):
        if getattr(config.loss, name) and not config.generator.label_size:
            raise UserError(f"loss.{name} is about labels, and there are none: set it to 0")
        if getattr(config.loss, name) and config.train.batch_size < 2:
            raise UserError(
                f"loss.{name} compares labels of a batch, and train.batch_size is 1: set it to 0"
            )
    loss, network = config.loss, config.discriminator.network
    usual = LossConfig.contrastive_temperature
    if loss.contrastive_temperature != usual and not loss.contrastive_weight:
        raise UserError("loss.contrastive_temperature has no effect: set loss.contrastive_weight")
    if loss.contrastive_weight and network != "stylegan2":
        raise UserError(
            f"loss.contrastive_weight needs discriminator.network stylegan2, not {network}: set "
            "one of them"
        )


def _check_schedules(config: Config) -> None:
    """Check every schedule, and the values that it starts and ends with."""
    optimizer, loss = config.optimizer, config.loss
    rate, gamma = optimizer.learning_rate_schedule, loss.r1_gamma_schedule
    check_schedule("optimizer.learning_rate_schedule", rate)
    check_schedule("optimizer.beta2_schedule", optimizer.beta2_schedule)
    check_schedule("optimizer.ema_kimg_schedule", optimizer.ema_kimg_schedule)
    check_schedule("loss.r1_gamma_schedule", gamma)
    check_range("optimizer.beta2_schedule.final", optimizer.beta2_schedule.final, BETAS)
    # Other options keep their ratio to these.
    for name, schedule, initial in (
        ("optimizer.learning_rate", rate, optimizer.learning_rate),
        ("loss.r1_gamma", gamma, loss.r1_gamma),
    ):
        if schedule != ScheduleConfig() and not initial:
            raise UserError(f"{name} is 0; {name}_schedule needs one above 0")


def _check_augmentation(config: Config) -> None:
    """Refuse options of augmentation that have no effect, or that need another loss."""
    options, schedule = config.augment, config.augment.p_schedule
    check_schedule("augment.p_schedule", schedule)
    check_range("augment.p_schedule.final", schedule.final, Range(0, 1))
    changes = schedule != ScheduleConfig()
    if not options.transforms:
        if options.p or changes:
            raise UserError("augment.p has no effect: set augment.transforms, such as bgc")
        return
    if options.mode == "adaptive":
        if changes:
            raise UserError("augment.p_schedule has no effect: set augment.mode to fixed")
        loss = config.loss.discriminator
        if loss in ("wgan", "relativistic"):
            raise UserError(
                f"augment.mode is adaptive, but loss.discriminator {loss} has no r_t to adapt to: "
                "set augment.mode to fixed, and augment.p"
            )
    elif not options.p and not schedule.final:
        raise UserError("augment.transforms has no effect: set augment.p, or mode to adaptive")


def check_schedule(name: str, schedule: ScheduleConfig) -> None:
    """Check that the fields of a schedule fit together; raise `UserError` if not."""
    for field in ("final", "kimg"):
        given = getattr(schedule, field) is not None
        if given and schedule.kind == "constant":
            raise UserError(f"{name}.{field} has no effect: set {name}.kind to linear or cosine")
        if not given and schedule.kind != "constant":
            raise UserError(f"{name}.kind {schedule.kind} needs {name}.{field}")
    if schedule.constant_kimg and schedule.kind == "constant":
        raise UserError(f"{name}.constant_kimg has no effect: set {name}.kind to linear or cosine")
    for field in ("warmup_kimg", "constant_kimg"):
        start = getattr(schedule, field)
        if schedule.kimg is not None and schedule.kimg <= start:
            raise UserError(
                f"{name}.kimg is {schedule.kimg}; it should be above {name}.{field}, {start}"
            )


def _check_frozen(config: Config) -> None:
    """Refuse to freeze more blocks than the discriminator has."""
    blocks, frozen = len(config.generator.resolutions) - 1, config.train.freeze_discriminator
    if frozen > blocks:
        raise UserError(
            f"train.freeze_discriminator is {frozen}; the discriminator has {blocks} blocks at "
            f"{shape(config.generator.image_size)}"
        )


def check_batch(config: Config, devices: int) -> None:
    """Refuse a batch that devices, path lengths or minibatch-stddev groups do not divide.

    Each part of an accumulated batch has to be divided by them too.
    """
    batch, loss, shrink = config.train.batch_size, config.loss, config.loss.path_length_batch_shrink
    parts, over = config.train.accumulate, f"{devices} device{'s' * (devices > 1)}"
    accumulated = f" times train.accumulate {parts}" if parts > 1 else ""
    need_multiple(batch, devices * parts, over + accumulated)
    if loss.path_length_weight and loss.path_length_interval:
        shrunk = f"loss.path_length_batch_shrink {shrink} times {over}{accumulated}"
        need_multiple(batch, devices * shrink * parts, shrunk)
    if config.discriminator.minibatch_stddev_channels:
        group = min(config.discriminator.minibatch_stddev_group, batch)
        grouped = f"discriminator.minibatch_stddev_group {group}{accumulated}"
        need_multiple(batch, group * parts, grouped)


def need_multiple(batch: int, number: int, of: str) -> None:
    """Refuse a batch that a number does not divide; `of` says what the number is."""
    if batch < 1 or batch % number:
        near = max(batch // number, 1) * number
        raise UserError(
            f"train.batch_size is {batch}; it should be a multiple of {number} ({of}), such as "
            f"{near}"
        )
