"""Checks of network configs that a user can get wrong, before anything is compiled."""

from __future__ import annotations

from ganformer_jax.config import DiscriminatorConfig, GeneratorConfig
from ganformer_jax.errors import UserError
from ganformer_jax.models.synthesis import STEM_RESOLUTION, channels_at, resolutions


def _check_resolution(resolution: int) -> None:
    if resolution < 2 * STEM_RESOLUTION or resolution & (resolution - 1):
        below = 1 << max(resolution.bit_length() - 1, 3)
        raise UserError(
            f"generator.resolution is {resolution}; it should be a power of two from 8 up, "
            f"such as {below} or {2 * below}"
        )


def _check_latents(config: GeneratorConfig) -> None:
    components = config.components
    if components < 0 or config.latent_size < 1:
        raise UserError("generator.components should be 0 or more and latent_size 1 or more")
    sizes = {"latent_size": config.latent_size, "intermediate_size": config.intermediate_size}
    for name, size in sizes.items():
        if components and size and size % components:
            raise UserError(
                f"generator.components is {components}, which does not divide generator.{name} "
                f"{size}; use {size - size % components} or {size + components - size % components}"
            )


def _check_attention(config: GeneratorConfig) -> None:
    attention, synthesis, positions = config.attention, config.synthesis, config.positions
    smallest, largest = config.attention_resolutions
    for resolution in resolutions(config):
        channels = channels_at(resolution, synthesis.channel_base, synthesis.channel_max)
        if smallest <= resolution <= largest and channels % attention.heads:
            raise UserError(
                f"generator.attention.heads is {attention.heads}, which does not divide the "
                f"{channels} channels at {resolution}x{resolution}"
            )
    parts = {"sinus": 2 * positions.directions, "linear": positions.directions, "trainable": 2}
    part, width = parts.get(positions.kind, 1), positions.size or config.w_size
    if width % part:
        raise UserError(
            f"positions of kind {positions.kind} need a width that {part} divides, not {width}: "
            "set generator.positions.size or generator.positions.directions"
        )


def validate_networks(generator: GeneratorConfig, discriminator: DiscriminatorConfig) -> None:
    """Check both configs.

    Raises:
        UserError: One line that names the option at fault and what would do.
    """
    _check_resolution(generator.resolution)
    _check_latents(generator)
    for name, config in (
        ("generator.synthesis", generator.synthesis),
        ("discriminator", discriminator),
    ):
        if channels_at(generator.resolution, config.channel_base, config.channel_max) < 1:
            raise UserError(
                f"{name}.channel_base is {config.channel_base}, which leaves no channels at "
                f"{generator.resolution}x{generator.resolution}"
            )
    if generator.components:
        _check_attention(generator)
