"""Checks of configs that come from untrusted files: types, and sizes that can be built."""

from __future__ import annotations

import operator
from typing import TypeVar

from ganformer_jax.config import DiscriminatorConfig, GeneratorConfig
from ganformer_jax.config_files import from_dict, to_dict
from ganformer_jax.config_ranges import Range, check_range
from ganformer_jax.errors import UserError

T = TypeVar("T", GeneratorConfig, DiscriminatorConfig)

MAX_POSITIONS = 1 << 28  # elements of the largest grid of positions


GENERATOR_RANGES = {
    "base_grid": Range(2, 16),
    "components": Range(0, 4096),
    "latent_size": Range(1, 1 << 20),
    "intermediate_size": Range(1, 1 << 20),
    "attention_resolutions": Range(0, 1 << 40),
    "attention.heads": Range(1, 256),
    "attention.kmeans_iterations": Range(0, 64),
    "positions.directions": Range(1, 64),
    "positions.size": Range(1, 1 << 16),
    "mapping.num_layers": Range(0, 128),
    "mapping.shared_width": Range(0, 1 << 20),
    "mapping.label_width": Range(1, 1 << 20),
}


def checked_generator(config: GeneratorConfig) -> GeneratorConfig:
    """Return the config with every value of its field's type.

    Raises:
        UserError: If a type is wrong or a size is too large to build; names the field.
    """
    config = _checked_types(config)
    for name, allowed in GENERATOR_RANGES.items():
        check_range(f"generator.{name}", operator.attrgetter(name)(config), allowed)
    longer = max(config.base_grid)
    checked_images(config.resolution, config.image_channels, config.label_size, longer)
    _check_filter("generator.synthesis.resample_filter", config.synthesis.resample_filter)
    side = min(config.resolution, config.attention_resolutions[1])
    if config.components and side**2 * (config.positions.size or config.w_size) > MAX_POSITIONS:
        raise UserError(f"positions of a {side}x{side} grid would be too large")
    return config


def checked_discriminator(config: DiscriminatorConfig) -> DiscriminatorConfig:
    """Return the config with every value of its field's type.

    Raises:
        UserError: If a type is wrong or a size is too large to build; names the field.
    """
    config = _checked_types(config)
    channels = config.minibatch_stddev_channels
    check_range("discriminator.minibatch_stddev_channels", channels, Range(0, 64))
    _check_filter("discriminator.resample_filter", config.resample_filter)
    return config


def checked_images(resolution: int, channels: int, classes: int, longer: int = 4) -> None:
    """Check the image size, channels and classes of a network.

    Args:
        resolution: Longer side of the images in pixels.
        channels: Channels of the images.
        classes: Number of classes, or 0.
        longer: Longer side of the base grid.

    Raises:
        UserError: If one is out of range; names it.
    """
    if not all(type(value) is int for value in (resolution, channels, classes)):
        raise UserError("resolution, channels and classes must be integers")
    check_range("resolution", resolution, Range(longer, 4096))
    doubled = resolution // longer
    if resolution % longer or doubled & (doubled - 1):
        wanted = "a power of two" if longer == 4 else f"{longer} times a power of two"
        raise UserError(f"resolution is {resolution}; it should be {wanted}")
    check_range("image channels", channels, Range(1, 16))
    check_range("classes", classes, Range(0, 1 << 20))


def _checked_types(config: T) -> T:
    return from_dict(type(config), to_dict(config))


def _check_filter(name: str, taps: tuple[int, ...]) -> None:
    if not 1 <= len(taps) <= 32 or not sum(taps):
        raise UserError(f"{name} should be 1 to 32 numbers with a sum other than 0")
