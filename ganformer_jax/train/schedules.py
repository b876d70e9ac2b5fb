"""Options that change while a network trains, as functions of the images it has seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import jax.numpy as jnp

from ganformer_jax.config import Config, ScheduleConfig
from ganformer_jax.train.trainable import Info

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int

    Value = float | Float[Array, ""]


def changes(schedule: ScheduleConfig) -> bool:
    """Return whether a schedule is anything but constant."""
    return schedule.kind != "constant" or schedule.warmup_kimg > 0


def value(
    schedule: ScheduleConfig, initial: float, images_seen: int | Int[Array, ""] | None
) -> Value:
    """Return an option's value after a number of images.

    It rises from 0 to `initial` over `warmup_kimg`, stays until `constant_kimg`, then changes to
    `final`, which it reaches at `kimg` and keeps. The cosine is half a period, as in Loshchilov and
    Hutter 2017 (arXiv 1608.03983), eq. 5, without restarts.

    Args:
        schedule: A schedule that `config.checks.validate` accepts.
        initial: Value of the option without a schedule.
        images_seen: Real images seen; may be traced. None for `initial`.

    Returns:
        `initial` itself if nothing changes, else a float32 scalar.
    """
    if images_seen is None or not changes(schedule):
        return initial
    images, warmup = jnp.float32(images_seen), 1000 * schedule.warmup_kimg
    current = jnp.float32(initial)
    if schedule.kind != "constant":
        assert schedule.final is not None and schedule.kimg is not None
        start = max(warmup, 1000 * schedule.constant_kimg)
        share = jnp.clip((images - start) / (1000 * schedule.kimg - start), 0, 1)
        if schedule.kind == "cosine":
            share = (1 - jnp.cos(jnp.pi * share)) / 2
        current = (1 - share) * initial + share * schedule.final
    return current * jnp.minimum(images / warmup, 1) if warmup else current


def scaled(schedule: ScheduleConfig, initial: float, other: float) -> ScheduleConfig:
    """Return the schedule by which `other` keeps its ratio to an option that starts at `initial`.

    It is for `value(scaled(schedule, initial, other), other, images_seen)`.
    """
    if schedule.final is None:
        return schedule
    return dataclasses.replace(schedule, final=schedule.final * (other / initial))


def scheduled_options(config: Config) -> Iterator[tuple[str, ScheduleConfig, float]]:
    """Yield the name, schedule and initial value of each option that has a schedule."""
    optimizer, loss = config.optimizer, config.loss
    yield "learning_rate", optimizer.learning_rate_schedule, optimizer.learning_rate
    yield "beta2", optimizer.beta2_schedule, optimizer.beta2
    yield "ema_kimg", optimizer.ema_kimg_schedule, optimizer.ema_kimg
    yield "r1_gamma", loss.r1_gamma_schedule, loss.r1_gamma


def current_values(config: Config, images_seen: Int[Array, ""], own_adam: bool = True) -> Info:
    """Return the values to log: of the options that change, after a number of images.

    Args:
        config: The experiment.
        images_seen: Real images seen.
        own_adam: Whether the optimizers are those of `make_optimizers`, which have schedules.
    """
    return {
        f"schedule/{name}": jnp.float32(value(schedule, initial, images_seen))
        for name, schedule, initial in scheduled_options(config)
        if changes(schedule) and (own_adam or name not in ("learning_rate", "beta2"))
    }
