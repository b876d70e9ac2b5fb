"""Checks of the networks' configs: ranges, and how their options fit together."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ganformer_jax.config.attention import LOCAL_ATTENTION_HEADS, MergeConfig, PositionConfig
from ganformer_jax.config.baseline_checks import check_baseline
from ganformer_jax.config.discriminator import DiscriminatorConfig, LabelMappingConfig
from ganformer_jax.config.generator import GeneratorConfig, SynthesisConfig
from ganformer_jax.config.ranges import check_ranges
from ganformer_jax.config.text_checks import check_text
from ganformer_jax.errors import UserError


def validate_networks(generator: GeneratorConfig, discriminator: DiscriminatorConfig) -> None:
    """Check the configs of both networks: every range, and how the options fit together.

    Raises:
        UserError: If an option has to be set differently; the message names it.
    """
    check_ranges(generator, "generator")
    check_ranges(discriminator, "discriminator")
    _check_resolution(generator.resolution, generator.base_grid)
    check_text(generator, discriminator)
    if generator.network == "ganformer":
        _check_generator(generator)
    else:
        check_baseline("generator", generator, bool(generator.label_size))
    if discriminator.network == "stylegan2":
        _check_label_mapping(discriminator)
        _check_discriminator_attention(discriminator, generator)
        _check_minibatch_stddev(discriminator, generator.base_grid)
    else:
        check_baseline("discriminator", discriminator, bool(generator.label_size))
    for name, network, channels_at in (
        ("generator", generator, generator.synthesis.channels_at),
        ("discriminator", discriminator, discriminator.channels_at),
    ):
        _check_self_attention(name, network, generator)
        _check_local_attention(name, network.local_attention_below, generator, channels_at)
    _check_channels("generator.synthesis", generator.synthesis, generator)
    _check_channels("discriminator", discriminator, generator)


def _check_generator(generator: GeneratorConfig) -> None:
    """Check a GANformer, a StyleGAN2, a plain GAN or a k-GAN."""
    _check_without_effect(generator)
    _check_latents(generator)
    _check_merge(generator)
    if generator.components and not generator.attended_resolutions:
        blocks = ", ".join(map(str, generator.resolutions))
        raise UserError(
            f"generator.attention_resolutions is {list(generator.attention_resolutions)}, with "
            "which no layer attends to the components: give the smallest and the largest of "
            f"{blocks}"
        )
    synthesis = generator.synthesis
    if not generator.components and not synthesis.style and synthesis.stem == "constant":
        raise UserError(
            "generator.components is 0 and generator.synthesis.style is off, so images would not "
            "depend on a latent: turn style on, or set generator.synthesis.stem to latent"
        )
    check_heads("generator.attention.heads", generator.attention.heads, _widths(generator))
    if generator.attended_resolutions or generator.self_attended_resolutions:
        check_positions("generator.positions", generator.positions, generator.w_size)


def _check_without_effect(config: GeneratorConfig) -> None:
    """Refuse options that another option overrules."""
    mapping, attention = config.mapping, config.attention
    for name in ("width", "last_hidden_width"):
        width = getattr(mapping, name)
        if width and (mapping.residual or mapping.shared_width):
            other = "shared_width" if mapping.shared_width else "residual"
            raise UserError(
                f"generator.mapping.{name} is {width}, but generator.mapping.{other} sets the "
                "width of the layers; leave one of them out"
            )
    if mapping.last_hidden_width and not mapping.num_layers:
        name = "generator.mapping.last_hidden_width"
        raise UserError(f"{name} needs generator.mapping.num_layers of 1 or more")
    if attention.places and attention.kmeans_iterations:
        raise UserError(
            "with generator.attention.places there are no queries, so no centroids: set "
            "generator.attention.kmeans_iterations to 0"
        )
    if attention.places_learning_rate_multiplier != 1 and not attention.places:
        name = "generator.attention.places"
        words = f"has no effect: set {name}, or leave it at 1"
        raise UserError(f"{name}_learning_rate_multiplier {words}")
    if attention.kmeans_carried and not attention.kmeans_iterations:
        name = "generator.attention.kmeans"
        raise UserError(f"{name}_carried needs {name}_iterations of 1 or more")


def _check_label_mapping(config: DiscriminatorConfig) -> None:
    if config.label_logit != "embedding" and config.label_mapping != LabelMappingConfig():
        raise UserError(
            f"discriminator.label_mapping is set, but discriminator.label_logit is "
            f"{config.label_logit}, which has no such network; set discriminator.label_logit to "
            "embedding, or leave the options of discriminator.label_mapping out"
        )
    mapping, name = config.label_mapping, "discriminator.label_mapping"
    for option, needed in (("embedding_width", 1), ("hidden_width", 2)):
        if getattr(mapping, option) and mapping.num_layers < needed:
            raise UserError(f"{name}.{option} needs {name}.num_layers of {needed} or more")


def shape(grid: tuple[int, int]) -> str:
    """Return a height and a width as text."""
    return f"{grid[0]}x{grid[1]}"


def _check_resolution(resolution: int, base_grid: tuple[int, int]) -> None:
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


def _check_merge(config: GeneratorConfig) -> None:
    """Refuse options that images which are merged do not go with."""
    merge = config.merge
    if not merge.images:
        if merge != MergeConfig():
            raise UserError("generator.merge has no effect: set generator.merge.images")
        return
    for name in ("components", "component_dropout"):
        if getattr(config, name):
            raise UserError(
                f"generator.{name} is {getattr(config, name)}, but generator.merge.images "
                f"{merge.images} has no components that attend; set one of them to 0"
            )
    if config.merge_resolution not in config.resolutions:
        choices = ", ".join(map(str, config.resolutions))
        raise UserError(
            f"generator.merge.resolution is {merge.resolution}; it should be one of {choices}"
        )


def _check_self_attention(
    name: str, config: GeneratorConfig | DiscriminatorConfig, generator: GeneratorConfig
) -> None:
    blocks = generator.resolutions if name == "generator" else generator.resolutions[1:]
    if config.network == "sagan":  # which attends to the output of a block
        blocks = generator.resolutions[1:] if name == "generator" else generator.resolutions[:-1]
    resolution = config.image_attention_resolution
    if resolution is not None and resolution not in blocks:
        choices = ", ".join(map(str, blocks))
        raise UserError(
            f"{name}.image_attention_resolution is {resolution}; it should be one of {choices}"
        )


def _check_local_attention(
    name: str, below: int | None, generator: GeneratorConfig, channels_at: Callable[[int], int]
) -> None:
    blocks = generator.resolutions if name == "generator" else generator.resolutions[1:]
    if below is None:
        return
    if below <= blocks[0]:
        raise UserError(
            f"{name}.local_attention_below {below} has no effect: the smallest layers have "
            f"{blocks[0]}; leave it out"
        )
    heads = LOCAL_ATTENTION_HEADS
    for resolution in blocks:
        channels = channels_at(resolution)
        if resolution < below and channels % heads:
            raise UserError(
                f"{name}.local_attention_below is {below}, but its {heads} heads do not divide "
                f"the {channels} channels at {shape(generator.grid_at(resolution))}"
            )


def _check_discriminator_attention(config: DiscriminatorConfig, generator: GeneratorConfig) -> None:
    """Refuse aggregators' options without effect, and widths that heads do not divide."""
    options, blocks = config.aggregators, generator.resolutions[1:]
    attended = [resolution for resolution in blocks if config.aggregates_at(resolution)]
    among_pixels = config.image_attention_resolution is not None
    if options.count and not attended:
        raise UserError(
            f"discriminator.aggregators.resolutions is {list(options.resolutions)}, but the "
            f"discriminator's blocks have {', '.join(map(str, blocks))}"
        )
    if not (attended or among_pixels):
        return
    widths = {"width of the aggregators": options.width}
    if options.image_attends:
        widths |= {
            f"channels at {shape(generator.grid_at(r))}": config.channels_at(r) for r in attended
        }
    check_heads("discriminator.aggregators.heads", options.heads, widths)
    check_positions("discriminator.positions", config.positions, options.width)
    added = config.minibatch_stddev_channels
    if options.count and added and options.width % added:
        raise UserError(
            f"discriminator.minibatch_stddev_channels is {added}, which does not divide "
            f"discriminator.aggregators.width {options.width}"
        )


def _check_latents(config: GeneratorConfig) -> None:
    name_of_latents = "merge.images" if config.merge.images else "components"
    components = config.num_local_latents
    sizes = {"latent_size": config.latent_size, "intermediate_size": config.intermediate_size}
    for name, size in sizes.items():
        if components and size and size % components:
            below = size - size % components
            near = [width for width in (below, below + components) if width]
            raise UserError(
                f"generator.{name_of_latents} is {components}, which does not divide "
                f"generator.{name} {size}; use {' or '.join(map(str, near))}"
            )


def _check_channels(
    name: str, network: SynthesisConfig | DiscriminatorConfig, generator: GeneratorConfig
) -> None:
    taps, base = list(network.resample_filter), network.channel_base
    if not sum(taps):
        raise UserError(
            f"{name}.resample_filter is {taps}; it should be numbers whose sum is not 0"
        )
    if not network.channels_at(generator.resolution):
        size = shape(generator.image_size)
        raise UserError(f"{name}.channel_base is {base}, which leaves no channels at {size}")


def _widths(config: GeneratorConfig) -> dict[str, int]:
    """Return the width of every layer that attends by its description."""
    synthesis, mapping, grids = config.synthesis, config.mapping, config.attended_resolutions
    grids_with_any = grids + config.self_attended_resolutions
    widths = {
        f"number of channels at {shape(config.grid_at(r))}": synthesis.channels_at(r)
        for r in grids_with_any
    }
    if grids and (config.components_attend_components or config.components_attend_image):
        widths["width of w, as components attend"] = config.w_size
    attends = config.num_local_latents and mapping.self_attention
    if attends and not mapping.shared_width and mapping.num_layers:
        inner = mapping.inner_width
        where = "of the mapping network's self-attention"
        first = inner or (config.w_size if mapping.residual else config.z_size)
        if not mapping.residual and config.label_size and "components" in config.labeled_branches:
            first += mapping.label_width or config.z_size  # a label beside z
        widths[f"width {where}"] = first
        if mapping.num_layers > 1 and not mapping.residual:
            widths[f"hidden width {where}"] = mapping.width or inner or config.w_size
    return widths


def check_heads(name: str, heads: int, widths: Mapping[str, int]) -> None:
    """Refuse a number of heads that does not divide widths, which are given by what they are of."""
    for where, width in widths.items():
        if width % heads:
            words = f"which does not divide the {where}, {width}: use a divisor of it"
            raise UserError(f"{name} is {heads}, {words}")


def check_positions(name: str, positions: PositionConfig, default_width: int) -> None:
    """Refuse positions of a width that their kind cannot have."""
    divisors = {"sinus": 2 * positions.directions, "linear": positions.directions, "trainable": 2}
    divisor, width = divisors.get(positions.kind, 1), positions.size or default_width
    if width % divisor:
        raise UserError(
            f"positions of kind {positions.kind} need a width that {divisor} divides, not {width}: "
            f"set {name}.size or {name}.directions"
        )


def _check_minibatch_stddev(config: DiscriminatorConfig, base_grid: tuple[int, int]) -> None:
    added, channels = config.minibatch_stddev_channels, config.channels_at(max(base_grid))
    if added and channels % added:
        raise UserError(
            f"discriminator.minibatch_stddev_channels is {added}, which does not divide the "
            f"{channels} channels at {shape(base_grid)}"
        )
