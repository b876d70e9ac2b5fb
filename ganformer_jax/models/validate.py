"""Checks of network configs that a user can get wrong, before anything is compiled."""

from __future__ import annotations

import math

from ganformer_jax.config import DiscriminatorConfig, GeneratorConfig
from ganformer_jax.errors import UserError
from ganformer_jax.models.synthesis import channels_at


def check_range(
    name: str, value: float | None, low: float = 0, high: float = math.inf, below: bool = False
) -> None:
    """Refuse numbers out of a range, NaN and infinity; None passes.

    Args:
        name: Dotted name of the option.
        value: What it is set to.
        low: Smallest value.
        high: Largest value.
        below: The value must be smaller than `high`.

    Raises:
        UserError: One line that names the option and its range.
    """
    if value is None or (low <= value < high) or (value == high < math.inf and not below):
        return
    wanted = f"{low} or more" if high == math.inf else f"from {low} to {high}"
    raise UserError(f"{name} is {value}; it should be {wanted}{f', below {high}' * below}")


def _check_ranges(config: GeneratorConfig) -> None:
    attention, mapping = config.attention, config.mapping
    check_range("generator.components", config.components)
    check_range("generator.latent_size", config.latent_size, 1)
    check_range("generator.intermediate_size", config.intermediate_size, 1)
    check_range("generator.label_size", config.label_size)
    check_range("generator.component_dropout", config.component_dropout, 0, 1, below=True)
    check_range("generator.attention.heads", attention.heads, 1)
    check_range("generator.attention.dropout", attention.dropout, 0, 1, below=True)
    check_range("generator.attention.kmeans_iterations", attention.kmeans_iterations)
    check_range("generator.positions.directions", config.positions.directions, 1)
    check_range("generator.positions.size", config.positions.size, 1)
    check_range("generator.mapping.num_layers", mapping.num_layers)
    check_range("generator.mapping.width", mapping.width, 1)
    check_range("generator.mapping.shared_width", mapping.shared_width)
    check_range("generator.mapping.label_width", mapping.label_width, 1)
    multiplier = mapping.learning_rate_multiplier
    check_range("generator.mapping.learning_rate_multiplier", multiplier)
    if not multiplier:  # weights are drawn with its inverse
        raise UserError("generator.mapping.learning_rate_multiplier is 0; it should be above 0")
    if config.image_channels not in (1, 3, 4):
        raise UserError(
            f"generator.image_channels is {config.image_channels}; it should be 1, 3 or 4"
        )


def _check_without_effect(config: GeneratorConfig) -> None:
    """Refuse options that another option overrules."""
    mapping, attention = config.mapping, config.attention
    if mapping.width and (mapping.residual or mapping.shared_width):
        other = "shared_width" if mapping.shared_width else "residual"
        raise UserError(
            f"generator.mapping.width is {mapping.width}, but generator.mapping.{other} sets the "
            "width of the layers; leave one of them out"
        )
    if attention.kmeans_carried and not attention.kmeans_iterations:
        raise UserError(
            "generator.attention.kmeans_carried needs generator.attention.kmeans_iterations of "
            "1 or more"
        )


def _shape(grid: tuple[int, int]) -> str:
    return f"{grid[0]}x{grid[1]}"


def _check_resolution(resolution: int, base_grid: tuple[int, int]) -> None:
    for side in base_grid:
        if not 2 <= side <= 16:
            raise UserError(
                f"generator.base_grid is {list(base_grid)}; its sides should be from 2 to 16"
            )
    longer = max(base_grid)
    doubled = resolution // longer
    if doubled < 2 or resolution % longer or doubled & (doubled - 1):
        below = longer << max(max(doubled, 0).bit_length() - 1, 1)
        wanted = "a power of two from 8 up"
        if base_grid != (4, 4):
            wanted = f"the longer side of generator.base_grid, {longer}, doubled once or more"
        raise UserError(
            f"generator.resolution is {resolution}; it should be {wanted}, "
            f"such as {below} or {2 * below}"
        )


def _check_latents(config: GeneratorConfig) -> None:
    components = config.components
    sizes = {"latent_size": config.latent_size, "intermediate_size": config.intermediate_size}
    for name, size in sizes.items():
        if components and size and size % components:
            near = sorted({size - size % components, size + components - size % components} - {0})
            raise UserError(
                f"generator.components is {components}, which does not divide generator.{name} "
                f"{size}; use {' or '.join(map(str, near))}"
            )


def _check_filter(name: str, taps: tuple[int, ...]) -> None:
    if not taps or not sum(taps):
        raise UserError(f"{name} is {list(taps)}; it should be numbers with a sum other than 0")


def _attended_widths(config: GeneratorConfig) -> dict[str, int]:
    """Widths that the heads share out: of every layer that attends, by where it is."""
    synthesis, mapping = config.synthesis, config.mapping
    grids = config.attended_resolutions
    base, most = synthesis.channel_base, synthesis.channel_max
    widths = {f"channels at {_shape(config.grid_at(r))}": channels_at(r, base, most) for r in grids}
    if grids and (config.components_attend_components or config.components_attend_image):
        widths["width of w, which components that attend have"] = config.w_size
    if mapping.self_attention and not mapping.shared_width and mapping.num_layers:
        where = "of the mapping network's self-attention"
        widths[f"width {where}"] = config.w_size if mapping.residual else config.z_size
        if mapping.num_layers > 1 and not mapping.residual:
            widths[f"hidden width {where}"] = mapping.width or config.w_size
    return widths


def _check_attention(config: GeneratorConfig) -> None:
    heads, positions = config.attention.heads, config.positions
    for where, width in _attended_widths(config).items():
        if width % heads:
            raise UserError(
                f"generator.attention.heads is {heads}, which does not divide the {width} {where}"
            )
    parts = {"sinus": 2 * positions.directions, "linear": positions.directions, "trainable": 2}
    part, width = parts.get(positions.kind, 1), positions.size or config.w_size
    if width % part:
        raise UserError(
            f"positions of kind {positions.kind} need a width that {part} divides, not {width}: "
            "set generator.positions.size or generator.positions.directions"
        )


def _check_discriminator(config: DiscriminatorConfig, base_grid: tuple[int, int]) -> None:
    check_range("discriminator.minibatch_stddev_group", config.minibatch_stddev_group, 1)
    added = config.minibatch_stddev_channels
    check_range("discriminator.minibatch_stddev_channels", added)
    channels = channels_at(max(base_grid), config.channel_base, config.channel_max)
    if added and channels % added:
        raise UserError(
            f"discriminator.minibatch_stddev_channels is {added}, which does not divide the "
            f"{channels} channels at {_shape(base_grid)}"
        )


def validate_networks(generator: GeneratorConfig, discriminator: DiscriminatorConfig) -> None:
    """Check both configs.

    Raises:
        UserError: One line that names the option at fault and what would do.
    """
    _check_ranges(generator)
    _check_without_effect(generator)
    _check_resolution(generator.resolution, generator.base_grid)
    _check_latents(generator)
    for name, config in (
        ("generator.synthesis", generator.synthesis),
        ("discriminator", discriminator),
    ):
        _check_filter(f"{name}.resample_filter", config.resample_filter)
        check_range(f"{name}.channel_max", config.channel_max, 1)
        if channels_at(generator.resolution, config.channel_base, config.channel_max) < 1:
            raise UserError(
                f"{name}.channel_base is {config.channel_base}, which leaves no channels at "
                f"{_shape(generator.image_size)}"
            )
    if generator.components:
        _check_attention(generator)
    _check_discriminator(discriminator, generator.base_grid)
