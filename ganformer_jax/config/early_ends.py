"""What training ends before, or what ends before training does: allowed, and said at the start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ganformer_jax.config.ganformer2 import GANformer2Config
from ganformer_jax.config.prior import PriorConfig


def early_ends(config: Any) -> list[str]:
    """Return a line for each stage that never begins, and each learning rate that ends too early.

    A run may be meant to be continued with a larger `train.total_kimg`, so these are no errors.

    Args:
        config: An experiment of any kind.
    """
    lines = []
    for name, first, last in _optimizers(config):
        schedule = getattr(config, name).learning_rate_schedule
        if schedule.final == 0 and first + schedule.kimg < last:
            lines.append(
                f"{name}.learning_rate falls to 0 at {first + schedule.kimg:g} kimg, and is used "
                f"until {last:g}: consider {name}.learning_rate_schedule.kimg {last - first:g}"
            )
    total = config.train.total_kimg
    for name, start, what in _stages(config):
        if start >= total:
            lines.append(f"{name} is {start:g} and train.total_kimg {total:g}: {what}")
    return lines


def _optimizers(config: Any) -> Iterator[tuple[str, float, float]]:
    """Yield each optimizer's name, and the thousands of images at its first and last step."""
    total = config.train.total_kimg
    if isinstance(config, PriorConfig):
        between = min(config.prior.autoencoder_kimg, total)
        yield "autoencoder_optimizer", 0.0, between
        yield "transformer_optimizer", between, total
    else:
        yield "optimizer", 0.0, total


def _stages(config: Any) -> Iterator[tuple[str, float, str]]:
    """Yield each option that begins a later stage, its value, and what happens without it."""
    if isinstance(config, PriorConfig):
        autoencoder = config.prior.autoencoder_kimg
        yield "prior.autoencoder_kimg", autoencoder, "the transformer is not trained"
    if isinstance(config, GANformer2Config) and config.loss.together_kimg is not None:
        together = config.loss.together_kimg
        yield "loss.together_kimg", together, "both stages are trained apart to the end"
